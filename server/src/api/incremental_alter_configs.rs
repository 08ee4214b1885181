//! IncrementalAlterConfigs: one decision of the controller for all resources of the request.

use corelog_replication::metadata::{AlterConfig, AlterOperation, ConfigRules, decide_incremental_alter_configs};

use rustc_hash::FxHashSet;

use super::Call;
use super::alter_configs::{BROKER_LOGGER, Refused, change, told};
use crate::config::resource::{Dynamic, list_default};
use crate::loggers;
use crate::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let (loggers, others): (Vec<_>, Vec<_>) =
        request.resources.into_iter().partition(|resource| resource.resource_type == BROKER_LOGGER);
    let mut responses = Vec::with_capacity(loggers.len() + others.len());
    let several = loggers.len() > 1;
    for resource in loggers {
        let name = resource.resource_name.clone();
        let outcome = match several {
            true => Err((ErrorCode::INVALID_REQUEST, "Each resource must appear at most once.".into())),
            false => change_levels(&call, resource, request.validate_only),
        };
        responses.push(response(BROKER_LOGGER, name, outcome));
    }
    let named = others.iter().map(|resource| (resource.resource_type, resource.resource_name.clone()));
    let named: Vec<(i8, Text)> = named.collect();
    let changes = others.into_iter().map(changes).collect();
    let broker = call.server.broker.clone();
    let outcomes = change(&call, &named, changes, request.validate_only, move |image, resources| {
        let settings = &broker.settings;
        let defaults = settings.topic_defaults(Dynamic::of(image, broker.node));
        let rules = ConfigRules {
            check: &|kind, name, configs| settings.check_resource(image, kind, name, configs),
            list_default: &|kind, name| list_default(&defaults, kind, name),
        };
        decide_incremental_alter_configs(image, resources, rules)
    });
    let outcomes = outcomes.await;
    responses.extend(named.into_iter().zip(outcomes).map(|((kind, name), outcome)| response(kind, name, outcome)));
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

fn response(resource_type: i8, resource_name: Text, outcome: Result<(), Refused>) -> AlterConfigsResourceResponse {
    let (error_code, error_message) = told(outcome);
    AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
}

/// Sets the levels of loggers, in the order of checks of Kafka's `ConfigAdminManager`.
fn change_levels(call: &Call, resource: AlterConfigsResource, validate_only: bool) -> Result<(), Refused> {
    let refused = |message: String| Err((ErrorCode::INVALID_REQUEST, message));
    let name = resource.resource_name.clone();
    let changes = changes(resource)?;
    let is_delete = |change: &AlterConfig| change.operation == AlterOperation::Delete;
    if let Some(change) = changes.iter().find(|change| change.value.is_none() && !is_delete(change)) {
        return refused(format!("Null value not supported for : {}", change.key));
    }
    let keys: FxHashSet<&str> = changes.iter().map(|change| &*change.key).collect();
    if keys.len() < changes.len() {
        return refused("Error due to duplicate config keys".into());
    }
    let node = call.server.broker.node.0;
    match name.parse::<i32>() {
        Ok(id) if id == node => {}
        Ok(id) => return refused(format!("Unexpected node id. Expected {node}, but received {id}")),
        Err(_) => return refused(format!("Node id must be an integer, but it is: {name}")),
    }
    let changes = changes.into_iter().map(|change| (change.key, change.operation, change.value));
    loggers::change(&changes.collect::<Vec<_>>(), validate_only)
}

fn changes(resource: AlterConfigsResource) -> Result<Vec<AlterConfig>, Refused> {
    let changes = resource.configs.into_iter().map(|config| {
        let operation = AlterOperation::from_id(config.config_operation).ok_or_else(|| {
            (
                ErrorCode::INVALID_REQUEST,
                format!("Unknown operation type {} of {}", config.config_operation, config.name),
            )
        })?;
        let value = config.value.map(|value| value.to_string());
        Ok(AlterConfig { key: config.name.to_string(), operation, value })
    });
    changes.collect()
}
