//! AlterConfigs: one decision of the controller for all resources of the request, each of which gets exactly the settings
//! that are named.

use corelog_replication::metadata::{
    ClusterImage, ConfigResource, Decision, MetadataError, ResourceType, decide_alter_configs,
};

use super::{Call, errors};
use crate::protocol::alter_configs::{AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let named = request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.clone()));
    let named: Vec<(i8, Text)> = named.collect();
    let changes = request.resources.into_iter().map(|resource| {
        let settings = resource.configs.into_iter();
        Ok(settings.map(|config| (config.name.to_string(), config.value.map(|value| value.to_string()))).collect())
    });
    let broker = call.server.broker.clone();
    let outcomes = change(&call, &named, changes.collect(), request.validate_only, move |image, resources| {
        let check = |kind, name: &str, configs: &_| broker.settings.check_resource(image, kind, name, configs);
        decide_alter_configs(image, resources, &check)
    });
    let outcomes = outcomes.await;
    let responses = named.into_iter().zip(outcomes).map(|((resource_type, resource_name), outcome)| {
        let (error_code, error_message) = told(outcome);
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    });
    AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}

/// `ConfigResource.Type.BROKER_LOGGER`: the levels of this process's logs, which are no part of the cluster's metadata.
pub(super) const BROKER_LOGGER: i8 = 8;

/// An error code with its sentence.
pub(super) type Refused = (ErrorCode, String);

/// What is said of an outcome.
pub(super) fn told(outcome: Result<(), Refused>) -> (ErrorCode, Option<Text>) {
    match outcome {
        Ok(()) => (ErrorCode::NONE, None),
        Err((code, message)) => (code, Some(Text::from(message))),
    }
}

/// Changes the settings of resources, or only says what would become of them; what of the request cannot be taken is refused
/// without a look at the rest.
pub(super) async fn change<C: 'static>(
    call: &Call,
    named: &[(i8, Text)],
    changes: Vec<Result<Vec<C>, Refused>>,
    validate_only: bool,
    decide: impl FnOnce(&ClusterImage, &[(ConfigResource, Vec<C>)]) -> Decision<Vec<Result<(), MetadataError>>> + 'static,
) -> Vec<Result<(), Refused>> {
    let mut outcomes: Vec<Result<(), Refused>> = Vec::with_capacity(named.len());
    let mut resources = Vec::new();
    for ((kind, name), changes) in named.iter().zip(changes) {
        let resource = ResourceType::from_id(*kind).ok_or_else(|| unsupported(*kind));
        let taken = resource.and_then(|kind| Ok((ConfigResource { kind, name: name.to_string() }, changes?)));
        outcomes.push(taken.map(|taken| resources.push(taken)));
    }
    let decided = call.server.decide(move |image| {
        let Decision { records, reply } = decide(image, &resources);
        if validate_only { Decision::only(reply) } else { Decision { records, reply } }
    });
    let mut decided = match decided.await {
        Ok(decided) => {
            decided.into_iter().map(|one| one.map_err(|error| (errors::metadata_code(&error), error.message))).collect()
        }
        Err(error) => vec![Err((errors::code(&error), error.to_string())); outcomes.len()],
    }
    .into_iter();
    for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
        *outcome = decided.next().expect("an answer for each");
    }
    outcomes
}

fn unsupported(kind: i8) -> Refused {
    (ErrorCode::INVALID_REQUEST, format!("Unsupported resource type: {kind}"))
}
