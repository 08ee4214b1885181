//! UpdateFeatures: one decision of the controller for all features of the request.

use corelog_replication::metadata::{Decision, FeatureUpdate, UpgradeType, decide_update_features};

use super::{Call, errors};
use crate::protocol::update_features::{UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let version = call.version;
    let updates: Vec<FeatureUpdate> = request
        .feature_updates
        .iter()
        .map(|update| FeatureUpdate {
            name: update.feature.to_string(),
            level: update.max_version_level,
            upgrade: match (version, update.allow_downgrade) {
                (0, false) => Some(UpgradeType::Upgrade),
                // Version 0 has one kind of downgrade, the safe one (KIP-778).
                (0, true) => Some(UpgradeType::SafeDowngrade),
                _ => UpgradeType::from_id(update.upgrade_type),
            },
        })
        .collect();
    let (node, validate_only) = (call.server.broker.node, request.validate_only);
    let decided = call.server.decide(move |image| {
        let Decision { records, reply } = decide_update_features(image, node, &updates);
        if validate_only { Decision::only(reply) } else { Decision { records, reply } }
    });
    let outcome = match decided.await {
        Ok(outcome) => outcome.map_err(|error| (errors::metadata_code(&error), error.message)),
        Err(error) => Err((errors::code(&error), error.to_string())),
    };
    let (error_code, error_message) = match outcome {
        Ok(()) => (ErrorCode::NONE, None),
        Err((code, message)) => (code, Some(Text::from(message))),
    };
    // Either all are changed or none.
    let results = request.feature_updates.into_iter().map(|update| UpdatableFeatureResult {
        feature: update.feature,
        error_code,
        error_message: error_message.clone(),
    });
    let results = if error_code.is_error() { Vec::new() } else { results.collect() };
    UpdateFeaturesResponse { throttle_time_ms: 0, error_code, error_message, results }
}
