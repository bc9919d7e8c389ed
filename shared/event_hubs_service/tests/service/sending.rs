//! Producers: where events go, and what of them is kept.

use azure_messaging_eventhubs::{EventDataBatchOptions, SendEventOptions, StartLocation, models::EventData};
use event_hubs_service::{
    ErrorKind, EventHubsService, HubLog, MAX_MESSAGE, ServiceConfig, ServiceError, SharedAccessKey, stable_hash,
};

use crate::support::{HUB, Site, at, bodies, event, sequences, to_partition, within};

#[tokio::test(flavor = "multi_thread")]
async fn batches_go_to_a_partition_by_its_number_or_by_a_key() {
    let site = Site::start().await;
    site.send(to_partition("3"), &["a", "b", "c"]).await;
    let key = EventDataBatchOptions { partition_key: Some("customer-2".to_owned()), ..Default::default() };
    site.send(key, &["k1", "k2"]).await;
    let third = site.receive("3", at(StartLocation::Earliest, false), 3).await;
    assert_eq!((bodies(&third), sequences(&third)), (vec!["a".into(), "b".into(), "c".into()], vec![0, 1, 2]));
    assert!(third.iter().all(|event| event.partition_key().is_none() && event.enqueued_time().is_some()));
    let keyed = (stable_hash("customer-2") % 4).to_string();
    let events = site.receive(&keyed, at(StartLocation::Earliest, false), 2).await;
    assert_eq!(bodies(&events), ["k1", "k2"]);
    assert!(events.iter().all(|event| event.partition_key().as_deref() == Some("customer-2")));
    let offsets: Vec<_> = third.iter().map(|event| event.offset().clone().unwrap()).collect();
    assert_eq!(offsets, ["0", "64", "128"], "an offset must not be taken for a sequence number");
}

#[tokio::test(flavor = "multi_thread")]
async fn single_events_go_in_turn_with_all_their_properties() {
    let site = Site::start().await;
    let producer = site.producer().await;
    for number in 0..8 {
        let event = EventData::builder()
            .with_body(format!("{number}").into_bytes())
            .with_content_type("application/json".to_owned())
            .with_message_id(format!("id-{number}"))
            .add_property("unit".to_owned(), "kW")
            .add_property("count".to_owned(), number)
            .build();
        within(producer.send_event(event, None)).await.unwrap();
    }
    for partition in 0..4 {
        let events = site.receive(&partition.to_string(), at(StartLocation::Earliest, false), 2).await;
        assert_eq!(bodies(&events), [partition.to_string(), (partition + 4).to_string()]);
        let data = events[1].event_data();
        assert_eq!(data.content_type(), Some("application/json"));
        assert_eq!(format!("{:?}", data.message_id().unwrap()), format!("String(\"id-{}\")", partition + 4));
        let properties = data.properties().unwrap();
        assert_eq!(format!("{:?}", properties["count"]), format!("Int({})", partition + 4));
        assert_eq!(format!("{:?}", properties["unit"]), "String(\"kW\")");
    }
    let options = SendEventOptions { partition_id: Some("2".to_owned()) };
    within(producer.send_event(event("to 2"), Some(options))).await.unwrap();
    assert_eq!(site.log.state(2).unwrap().next_sequence, 3);
    assert_eq!(site.log.read(2, 2, 1, 100).unwrap()[0].body, "to 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_may_be_as_large_as_event_hubs_takes_it_and_no_larger() {
    let site = Site::start().await;
    let producer = site.producer().await;
    let batch = within(producer.create_batch(Some(to_partition("0")))).await.unwrap();
    let body = "x".repeat(1000);
    while batch.try_add_event_data(event(&body), None).unwrap() {}
    let count = batch.len();
    assert!(batch.size() > (MAX_MESSAGE - 2000) as u64 && count > 900, "{} bytes, {count} events", batch.size());
    within(producer.send_batch(batch, None)).await.unwrap();
    assert_eq!(site.log.state(0).unwrap().next_sequence, count as u64, "one message in seventeen frames");
    let large = event(&"x".repeat(MAX_MESSAGE));
    assert!(within(producer.send_event(large, None)).await.is_err());
    assert_eq!(site.log.state(1).unwrap().next_sequence, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_of_hub_and_partitions() {
    let site = Site::start().await;
    site.send(to_partition("1"), &["a", "b", "c", "d"]).await;
    site.log.expire(1, 2);
    let producer = site.producer().await;
    let hub = within(producer.get_eventhub_properties()).await.unwrap();
    assert_eq!((hub.name.as_str(), hub.partition_ids.len()), (HUB, 4));
    assert!(hub.created_on.is_some());
    let partition = within(producer.get_partition_properties("1")).await.unwrap();
    assert_eq!((partition.beginning_sequence_number, partition.last_enqueued_sequence_number), (2, 3));
    assert_eq!((partition.last_enqueued_offset.as_str(), partition.is_empty), ("192", false));
    let empty = within(producer.get_partition_properties("0")).await.unwrap();
    assert_eq!((empty.last_enqueued_sequence_number, empty.is_empty), (-1, true));
    assert!(within(producer.get_partition_properties("4")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_configured_only_its_tokens_open_the_hub() {
    let key = SharedAccessKey { name: "local".to_owned(), key: "c2VjcmV0".to_owned() };
    let site = Site::with(event_hubs_service::MemoryLog::new(1), |config| config.key = Some(key)).await;
    site.send(to_partition("0"), &["let in"]).await;
    assert_eq!(bodies(&site.receive("0", at(StartLocation::Earliest, false), 1).await), ["let in"]);
    let wrong = site.service.connection_string().replace("c2VjcmV0", "Z3Vlc3M=");
    let builder = azure_messaging_eventhubs::ProducerClient::builder().with_custom_endpoint(site.service.endpoint());
    let producer = within(builder.open_with_connection_string(&wrong, Some(HUB))).await.unwrap();
    let error = within(producer.create_batch(None)).await.err().unwrap();
    assert!(format!("{error:?}").contains("401"), "{error:?}");
}

#[tokio::test]
async fn plain_text_stays_on_this_machine() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let config = ServiceConfig::new(address.parse().unwrap());
        let error = EventHubsService::start(config, []).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotLoopback { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Request);
    }
    let taken = Site::start().await;
    let config = ServiceConfig::new(taken.service.address());
    assert_eq!(EventHubsService::start(config, []).await.unwrap_err().kind(), ErrorKind::Io);
    let hub = || -> std::sync::Arc<dyn HubLog> { std::sync::Arc::new(event_hubs_service::MemoryLog::new(1)) };
    let config = || ServiceConfig::new(([127, 0, 0, 1], 0).into());
    let twice = [("a".to_owned(), hub()), ("A".to_owned(), hub())];
    assert!(matches!(EventHubsService::start(config(), twice).await, Err(ServiceError::SameHub { .. })));
    let slash = [("a/b".to_owned(), hub())];
    assert!(matches!(EventHubsService::start(config(), slash).await, Err(ServiceError::HubName { .. })));
}
