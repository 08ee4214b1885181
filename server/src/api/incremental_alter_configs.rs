//! IncrementalAlterConfigs: one decision of the controller for all resources of the request.

use corelog_replication::metadata::{AlterConfig, AlterOperation, ConfigRules, decide_incremental_alter_configs};

use super::Call;
use super::alter_configs::{Refused, change, told};
use crate::config::resource::{Dynamic, list_default};
use crate::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let named = request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.clone()));
    let named: Vec<(i8, Text)> = named.collect();
    let changes = request.resources.into_iter().map(changes).collect();
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
    let responses = named.into_iter().zip(outcomes).map(|((resource_type, resource_name), outcome)| {
        let (error_code, error_message) = told(outcome);
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    });
    IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
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
