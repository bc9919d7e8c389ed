"""One step with the official Python SDK against a local hub; prints JSON.

client.py <connection string> <hub> send <partition or -> <key or -> <body>...
client.py <connection string> <hub> properties <partition>
client.py <connection string> <hub> receive <group> <partition> <start> <inclusive> <count> <owner level or ->
client.py <connection string> <hub> take-over <group> <partition>
"""
import datetime
import json
import sys
import threading

import azure.eventhub._pyamqp._platform as platform
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient

# On loopback the SDK sets every TCP option anew that it has read, and Linux refuses these two at random.
platform.KNOWN_TCP_OPTS -= {"TCP_MAXSEG", "TCP_WINDOW_CLAMP"}

connection, hub, action, *arguments = sys.argv[1:]


def given(text):
    return None if text == "-" else text


def start(text):
    kind, _, value = text.partition(":")
    if kind == "sequence":
        return int(value)
    if kind == "time":
        return datetime.datetime.fromtimestamp(int(value) / 1000, datetime.timezone.utc)
    return text


def send(partition, key, *bodies):
    with EventHubProducerClient.from_connection_string(connection, eventhub_name=hub) as producer:
        batch = producer.create_batch(partition_id=given(partition), partition_key=given(key))
        for number, body in enumerate(bodies):
            event = EventData(body)
            event.properties = {"number": number, "unit": "kW"}
            event.message_id = f"py-{number}"
            batch.add(event)
        producer.send_batch(batch)
    return len(bodies)


def properties(partition):
    with EventHubProducerClient.from_connection_string(connection, eventhub_name=hub) as producer:
        found = dict(producer.get_eventhub_properties())
        found["created_at"] = found["created_at"].timestamp()
        of_partition = dict(producer.get_partition_properties(partition))
        of_partition["last_enqueued_time_utc"] = of_partition["last_enqueued_time_utc"].timestamp()
        return {"hub": found, "partition": of_partition}


class Reader:
    """A client of its own that reads one partition until it has enough or is closed."""

    def __init__(self, group, partition, position, inclusive, owner):
        self.events, self.errors, self.changed = [], [], threading.Condition()
        self.client = EventHubConsumerClient.from_connection_string(
            connection, consumer_group=group, eventhub_name=hub, retry_total=0
        )
        self.thread = threading.Thread(
            target=self.client.receive,
            kwargs=dict(
                on_event=self.on_event,
                on_error=self.on_error,
                partition_id=partition,
                starting_position=position,
                starting_position_inclusive=inclusive,
                owner_level=owner,
            ),
            daemon=True,
        )
        self.thread.start()

    def on_event(self, _, event):
        if event is not None:
            with self.changed:
                self.events.append(event)
                self.changed.notify_all()

    def on_error(self, _, error):
        with self.changed:
            self.errors.append(error)
            self.changed.notify_all()

    def wait(self, enough, seconds=20):
        with self.changed:
            return self.changed.wait_for(lambda: enough(self), seconds)

    def close(self):
        self.client.close()
        self.thread.join(5)


def told(event):
    properties = {
        key.decode() if isinstance(key, bytes) else key: value.decode() if isinstance(value, bytes) else value
        for key, value in event.properties.items()
    }
    return {
        "body": event.body_as_str(),
        "sequence": event.sequence_number,
        "offset": event.offset,
        "key": event.partition_key.decode() if event.partition_key else None,
        "time": round(event.enqueued_time.timestamp() * 1000),
        "message_id": event.message_id,
        "properties": properties,
    }


def receive(group, partition, position, inclusive, count, owner):
    owner = None if owner == "-" else int(owner)
    reader = Reader(group, partition, start(position), inclusive == "true", owner)
    reader.wait(lambda reader: len(reader.events) >= int(count) or reader.errors)
    reader.close()
    return {"events": [told(event) for event in reader.events], "errors": [repr(error) for error in reader.errors]}


def take_over(group, partition):
    first = Reader(group, partition, "-1", False, 1)
    first.wait(lambda reader: reader.events)
    second = Reader(group, partition, "-1", False, 2)
    second.wait(lambda reader: reader.events)
    first.wait(lambda reader: reader.errors)
    third = Reader(group, partition, "-1", False, 1)
    third.wait(lambda reader: reader.errors)
    found = {
        "first": [type(error).__name__ + " " + str(error) for error in first.errors],
        "second": len(second.events),
        "third": [type(error).__name__ + " " + str(error) for error in third.errors],
        "third_events": len(third.events),
    }
    for reader in (first, second, third):
        reader.close()
    return found


actions = {"send": send, "properties": properties, "receive": receive, "take-over": take_over}
print(json.dumps(actions[action](*arguments)))
