//! Handlers that share a state, as axum's routers do.

use std::fmt;
use std::future::Future;

use axum::Router;
use bytes::Bytes;
use http::Request;

use crate::app::{FunctionApp, FunctionAppBuilder, Limits};
use crate::envelope::DataType;
use crate::error::HandlerError;
use crate::invocation::Invocation;
use crate::reply::{Answer, HttpReply, Reply};
use crate::trigger::{EventBatch, EventGridEvent, QueueMessage, TimerInfo, Trigger};

/// A [`FunctionAppBuilder`] whose handlers take the app's state as their first argument. Each invocation gets a clone,
/// so the state is mostly an `Arc`.
///
/// ```
/// # use std::sync::Arc;
/// # use azure_functions_custom_handler::{FunctionApp, HandlerError, Invocation, QueueMessage, Reply};
/// struct Settings {
///     greeting: String,
/// }
///
/// async fn greet(settings: Arc<Settings>, _: Invocation, message: QueueMessage) -> Result<Reply, HandlerError> {
///     let name = String::from_utf8_lossy(&message.body);
///     Ok(Reply::ok().output("greetings", vec![format!("{}, {name}", settings.greeting)]))
/// }
///
/// let settings = Arc::new(Settings { greeting: "hello".to_owned() });
/// let app = FunctionApp::builder().with_state(settings).queue("greet", greet).build();
/// ```
#[must_use]
pub struct StatefulAppBuilder<S> {
    builder: FunctionAppBuilder,
    state: S,
}

impl FunctionAppBuilder {
    /// Gives `state` to every handler and route that is registered from here on. Functions that are registered already
    /// stay as they are.
    pub fn with_state<S: Clone + Send + Sync + 'static>(self, state: S) -> StatefulAppBuilder<S> {
        StatefulAppBuilder { builder: self, state }
    }
}

impl<S: Clone + Send + Sync + 'static> StatefulAppBuilder<S> {
    /// See [`FunctionAppBuilder::queue`].
    pub fn queue<F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(S, Invocation, QueueMessage) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
    {
        self.function(name, DataType::Binary, handler)
    }

    /// See [`FunctionAppBuilder::event_hub`].
    pub fn event_hub<F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(S, Invocation, EventBatch) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
    {
        self.function(name, DataType::Binary, handler)
    }

    /// See [`FunctionAppBuilder::timer`].
    pub fn timer<F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(S, Invocation, TimerInfo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
    {
        self.function(name, DataType::String, handler)
    }

    /// See [`FunctionAppBuilder::event_grid`].
    pub fn event_grid<F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(S, Invocation, EventGridEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
    {
        self.function(name, DataType::String, handler)
    }

    /// See [`FunctionAppBuilder::http`].
    pub fn http<F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(S, Invocation, Request<Bytes>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HttpReply, HandlerError>> + Send + 'static,
    {
        self.function(name, DataType::String, handler)
    }

    /// See [`FunctionAppBuilder::function`].
    pub fn function<T, A, F, Fut>(mut self, name: impl Into<String>, data_type: DataType, handler: F) -> Self
    where
        T: Trigger,
        A: Answer,
        F: Fn(S, Invocation, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, HandlerError>> + Send + 'static,
    {
        let state = self.state.clone();
        let handler = move |invocation, trigger| handler(state.clone(), invocation, trigger);
        self.builder = self.builder.function(name, data_type, handler);
        self
    }

    /// See [`FunctionAppBuilder::forwarded`]; the routes get the same state.
    ///
    /// # Panics
    /// As [`FunctionAppBuilder::forwarded`] does.
    pub fn forwarded(mut self, router: Router<S>) -> Self {
        self.builder = self.builder.forwarded(router.with_state(self.state.clone()));
        self
    }

    /// See [`FunctionAppBuilder::limits`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.builder = self.builder.limits(limits);
        self
    }

    /// Makes the app.
    pub fn build(self) -> FunctionApp {
        self.builder.build()
    }
}

/// The state may be a secret and is not shown.
impl<S> fmt::Debug for StatefulAppBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.builder.fmt(f)
    }
}
