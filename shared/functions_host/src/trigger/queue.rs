//! queueTrigger, as WebJobs' queue listener and processor do it: `batchSize` messages at a time, the next when at most
//! `newBatchThreshold` are running; an empty queue is left alone for longer and longer. A message that is handled is
//! deleted; one that fails comes again after `visibilityTimeout`, and after `maxDequeueCount` times goes to
//! `<queue>-poison`, where one whose text cannot be decoded goes at once. A host that stops counts what it interrupts as an
//! attempt like any other. What goes wrong while a message is settled ends the host.
//!
//! A poison queue has no poison queue of its own: what fails there stays hidden until its time runs out, is handed out
//! `maxDequeueCount` times, and then lies there until it expires.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use tokio::{sync::Notify, task::JoinSet};
use uuid::Uuid;

use crate::{
    config::{Function, QueueName, QueueTrigger},
    envelope::{self, Metadata},
    error::HostError,
    host::Core,
    invoke::{Invocation, InvocationReport, TriggerDetail},
    store::{Delivery, Queue},
    trigger::backoff::Backoff,
};

pub(crate) async fn run(core: Arc<Core>, function: Arc<Function>, trigger: QueueTrigger, queue: Queue) {
    let options = &core.config.queues;
    let (mut backoff, mut found) = (Backoff::new(options.max_polling_interval), false);
    let mut running = JoinSet::new();
    while !core.invoker.stopping() {
        let taken = queue.take(options.batch_size, core.queue_visibility).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot take messages");
            Vec::new()
        });
        if taken.is_empty() {
            let pause = backoff.pause(std::mem::take(&mut found), rand::random_range(0.8..1.2));
            tokio::select! {
                () = core.stopped() => break,
                () = queue.wait(pause) => {}
            }
            while running.try_join_next().is_some() {}
            continue;
        }
        found = true;
        for delivery in taken {
            let (core, function, trigger) = (Arc::clone(&core), Arc::clone(&function), trigger.clone());
            let queue = queue.clone();
            running.spawn(async move {
                if let Err(error) = handle(&core, &function, &trigger, &queue, delivery).await {
                    core.give_up(format!("cannot settle a message of queue {}: {error}", queue.name())).await;
                }
            });
        }
        while running.len() > options.new_batch_threshold {
            tokio::select! {
                () = core.stopped() => break,
                _ = running.join_next() => {}
            }
        }
    }
    while running.join_next().await.is_some() {}
}

async fn handle(
    core: &Core,
    function: &Function,
    trigger: &QueueTrigger,
    queue: &Queue,
    mut delivery: Delivery,
) -> Result<(), HostError> {
    let _running = core.invoker.running();
    let options = &core.config.queues;
    let poison = queue.poison().map(|name| QueueName { queue: name, connection: trigger.queue.connection.clone() });
    let Some(body) = delivery.body.take() else {
        tracing::warn!(queue = queue.name(), id = delivery.id, "message is not base64; see messageEncoding");
        return park(core, queue, poison, &delivery).await;
    };
    // The host died with it too often for it ever to be judged.
    if delivery.dequeue_count > options.max_dequeue_count {
        return park(core, queue, poison, &delivery).await;
    }
    let detail = TriggerDetail::Queue {
        queue: queue.name().to_owned(),
        message_id: delivery.id.clone(),
        dequeue_count: delivery.dequeue_count,
    };
    let metadata = Metadata::new(&function.name, Utc::now(), Uuid::new_v4());
    let envelope = envelope::queue(trigger, &delivery, &body, metadata);
    let invocation = Invocation { function, trigger: detail, attempt: delivery.dequeue_count };
    let work = async { core.invoker.invoke(invocation, &envelope).await.0 };
    let report = keep_hidden(queue, &mut delivery, core.queue_visibility, work).await;
    let ours = match &poison {
        _ if report.ok => queue.delete(&delivery).await?,
        Some(_) if delivery.dequeue_count >= options.max_dequeue_count => {
            return park(core, queue, poison, &delivery).await;
        }
        Some(_) => queue.release(&delivery, options.visibility_timeout).await?,
        None => true,
    };
    if !ours {
        tracing::debug!(queue = queue.name(), id = delivery.id, "somebody else has taken the message over");
    }
    Ok(())
}

/// Renews a message's hiding while its function runs, each time when half of it is over. A renewal is never cut short:
/// its answer holds the receipt that settles the message.
async fn keep_hidden(
    queue: &Queue,
    delivery: &mut Delivery,
    hidden: Duration,
    work: impl Future<Output = InvocationReport>,
) -> InvocationReport {
    let done = Notify::new();
    let work = async {
        let report = work.await;
        done.notify_one();
        report
    };
    let renewal = async {
        let mut pause = hidden / 2;
        while tokio::time::timeout(pause, done.notified()).await.is_err() {
            match queue.renew(delivery, hidden).await {
                Ok(true) => pause = hidden / 2,
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot keep a message hidden");
                    pause = (pause / 2).max(hidden / 10);
                }
            }
        }
    };
    tokio::join!(work, renewal).0
}

/// Moves a message to the poison queue, if there is one; else it stays.
async fn park(core: &Core, queue: &Queue, poison: Option<QueueName>, delivery: &Delivery) -> Result<(), HostError> {
    let Some(poison) = poison else {
        tracing::warn!(
            queue = queue.name(),
            id = delivery.id,
            "message is not handed out again; it lies there until it expires"
        );
        return Ok(());
    };
    tracing::warn!(queue = queue.name(), id = delivery.id, "message moved to the poison queue");
    core.queues.queue(&poison)?.put_text(delivery.text.clone()).await?;
    queue.delete(delivery).await.map(|_| ())
}
