//! queueTrigger: `batchSize` messages at a time, more when at most `newBatchThreshold` are running; a message that
//! fails `maxDequeueCount` times goes to `<queue>-poison`.

use std::{sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    config::{Function, QueueTrigger},
    envelope::{self, Metadata},
    error::HostError,
    host::Core,
    invoke::{Invocation, TriggerDetail},
    store::{Delivery, Queue},
};

const POISON: &str = "-poison";

pub(crate) async fn run(core: Arc<Core>, function: Arc<Function>, trigger: QueueTrigger, queue: Arc<Queue>) {
    let options = &core.config.queues;
    let mut running = JoinSet::new();
    while !core.invoker.stopping() {
        while running.try_join_next().is_some() {}
        let room = running.len() <= options.new_batch_threshold;
        if room {
            let taken = match queue.take(options.batch_size, Utc::now()) {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::error!(%error, "cannot take messages");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            for delivery in taken {
                let (core, function, trigger) = (Arc::clone(&core), Arc::clone(&function), trigger.clone());
                let queue = Arc::clone(&queue);
                running.spawn(async move {
                    if let Err(error) = handle(&core, &function, &trigger, &queue, &delivery).await {
                        tracing::error!(%error, queue = queue.name(), "cannot settle a message");
                    }
                });
            }
        }
        tokio::select! {
            () = core.stopped() => break,
            () = queue.wait(Utc::now()), if running.len() <= options.new_batch_threshold => {}
            Some(_) = running.join_next() => {}
        }
    }
    while running.join_next().await.is_some() {}
}

async fn handle(
    core: &Core,
    function: &Function,
    trigger: &QueueTrigger,
    queue: &Queue,
    delivery: &Delivery,
) -> Result<(), HostError> {
    let _running = core.invoker.running();
    let limit = core.config.queues.max_dequeue_count;
    // A poison queue has no poison queue of its own: its messages stay.
    let poison = (!queue.name().ends_with(POISON)).then(|| format!("{}{POISON}", queue.name()));
    let park = |poison: &str| {
        tracing::warn!(queue = queue.name(), id = delivery.id, "message moved to the poison queue");
        core.queues.queue(poison)?.put(delivery.body.clone(), Utc::now())?;
        queue.delete(delivery)
    };
    // The host died with it too often for it ever to be judged.
    if let Some(poison) = poison.as_deref().filter(|_| delivery.dequeue_count > limit) {
        return park(poison);
    }
    let detail = TriggerDetail::Queue {
        queue: queue.name().to_owned(),
        message_id: delivery.id.clone(),
        dequeue_count: delivery.dequeue_count,
    };
    let metadata = Metadata::new(&function.name, Utc::now(), Uuid::new_v4());
    let envelope = envelope::queue(trigger, delivery, metadata);
    let invocation = Invocation { function, trigger: detail, attempt: delivery.dequeue_count };
    let (report, _) = core.invoker.invoke(invocation, &envelope).await;
    match poison {
        _ if report.ok => queue.delete(delivery),
        _ if core.invoker.stopping() => queue.release(delivery, Utc::now()),
        Some(poison) if delivery.dequeue_count >= limit => park(&poison),
        _ => {
            let delay = TimeDelta::from_std(core.config.queues.visibility_timeout).unwrap_or(TimeDelta::MAX);
            queue.release(delivery, Utc::now() + delay)
        }
    }
}
