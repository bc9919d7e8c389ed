//! eventHubTrigger: one loop per function and partition, batches in order. The checkpoint moves on whatever the outcome
//! is, unless the retry policy asks for another attempt: that is the host's trap, kept here on purpose.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;

use crate::{
    config::{Cardinality, EventHubTrigger, Function},
    envelope::{self, PartitionSource},
    error::HostError,
    host::Core,
    invoke::TriggerDetail,
    store::{Consumer, Event},
    trigger::run_with_retries,
};

pub(crate) async fn run(core: Arc<Core>, function: Arc<Function>, trigger: EventHubTrigger, consumer: Arc<Consumer>) {
    let mut batches = 0_u32;
    while !core.invoker.stopping() {
        tokio::select! {
            () = core.stopped() => return,
            () = enough(&core, &consumer) => {}
        }
        match step(&core, &function, &trigger, &consumer, &mut batches).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%error, function = function.name, "cannot read events or write a checkpoint");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Delivers one batch. False: the host is going down and the batch was not handled.
async fn step(
    core: &Core,
    function: &Function,
    trigger: &EventHubTrigger,
    consumer: &Arc<Consumer>,
    batches: &mut u32,
) -> Result<bool, HostError> {
    let _running = core.invoker.running();
    let position = consumer.position();
    let (reader, max) = (Arc::clone(consumer), core.config.event_hubs.max_batch);
    let read = tokio::task::spawn_blocking(move || reader.partition.read(position.next, max));
    let events = read.await.map_err(|error| HostError::Handler { reason: error.to_string() })??;
    let Some(last) = events.last() else { return Ok(true) };
    if !deliver(core, function, trigger, consumer, &events).await {
        return Ok(false);
    }
    *batches = batches.wrapping_add(1);
    let checkpoint = batches.is_multiple_of(core.config.event_hubs.checkpoint_frequency);
    consumer.advance(position, last.sequence + 1, checkpoint)?;
    Ok(true)
}

/// One invocation for the batch, or one each at the same time for `cardinality: one`.
async fn deliver(
    core: &Core,
    function: &Function,
    trigger: &EventHubTrigger,
    consumer: &Consumer,
    events: &[Event],
) -> bool {
    let source = PartitionSource { namespace: &core.namespace, partition: consumer.partition.id };
    let detail = |events: &[Event]| TriggerDetail::Events {
        hub: trigger.hub.clone(),
        consumer_group: trigger.consumer_group.clone(),
        partition: consumer.partition.id,
        first_sequence: events.first().map_or(0, |event| event.sequence),
        last_sequence: events.last().map_or(0, |event| event.sequence),
    };
    if trigger.cardinality == Cardinality::Many {
        let build = |metadata| envelope::events(trigger, &source, events, metadata);
        return run_with_retries(core, function, &detail(events), build).await.is_some();
    }
    let each = events.iter().map(|event| {
        let (source, detail) = (&source, detail(std::slice::from_ref(event)));
        async move {
            let build = |metadata| envelope::event(trigger, source, event, metadata);
            run_with_retries(core, function, &detail, build).await.is_some()
        }
    });
    join_all(each).await.into_iter().all(|settled| settled)
}

/// Returns when a batch is due: `minEventBatchSize` events, or fewer after `maxWaitTime`.
async fn enough(core: &Core, consumer: &Consumer) {
    let (least, max_wait) = (core.config.event_hubs.min_batch as u64, core.config.event_hubs.max_wait);
    let mut end = consumer.partition.end();
    let mut deadline = None;
    loop {
        end.borrow_and_update();
        let behind = consumer.behind();
        if behind >= least {
            return;
        }
        if behind == 0 {
            deadline = None;
        } else if deadline.is_none() {
            deadline = Some(tokio::time::Instant::now() + max_wait);
        }
        let until = deadline.unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            _ = end.changed() => {}
            () = consumer.rewound.notified() => {}
            () = tokio::time::sleep_until(until) => if deadline.is_some() { return },
        }
    }
}
