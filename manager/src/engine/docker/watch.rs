//! What happens to containers.

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use std::collections::HashMap;

use super::connection::DockerEngine;
use super::found::label_filter;
use crate::engine::{EngineEvent, InstanceName};

impl DockerEngine {
    /// Any error ends the stream, one of the first connection too.
    pub(super) fn events(
        &self,
        labels: &[(String, String)],
        since: Timestamp,
    ) -> BoxStream<'static, EngineEvent> {
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("event", ["start", "die", "destroy"].map(str::to_owned).to_vec()),
            ("label", label_filter(labels)),
        ]);
        let since = format!("{}.{:09}", since.as_second(), since.subsec_nanosecond());
        let options = EventsOptionsBuilder::new().filters(&filters).since(&since).build();
        let engine = self.clone();
        stream::once(async move { engine.client().await })
            .map_ok(move |client| client.events(Some(options.clone())).map_err(drop))
            .map_err(drop)
            .try_flatten()
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(|event| std::future::ready(event.ok().and_then(read)))
            .boxed()
    }
}

fn read(event: EventMessage) -> Option<EngineEvent> {
    let name = InstanceName(event.actor?.attributes?.remove("name")?);
    match event.action?.as_str() {
        "start" => Some(EngineEvent::Started(name)),
        "die" => Some(EngineEvent::Ended(name)),
        "destroy" => Some(EngineEvent::Removed(name)),
        _ => None,
    }
}
