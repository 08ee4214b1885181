//! DescribeClientQuotas: there are no quotas, which is what a broker says that was never given any.

use std::collections::BTreeSet;

use super::Call;
use crate::protocol::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(_: Call, request: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    match check(&request.components) {
        Ok(()) => DescribeClientQuotasResponse { error_message: None, ..Default::default() },
        Err((error_code, message)) => DescribeClientQuotasResponse {
            error_code,
            error_message: Some(Text::from(message)),
            entries: None,
            ..Default::default()
        },
    }
}

/// Whether it is one that could be asked for (Kafka's `ClientQuotaCache.describeClientQuotas`).
fn check(components: &[ComponentData]) -> Result<(), (ErrorCode, String)> {
    let mut kinds = BTreeSet::new();
    for ComponentData { entity_type, match_type, .. } in components {
        let kind = entity_type.as_str();
        if !(0..=2).contains(match_type) {
            return Err((ErrorCode::INVALID_REQUEST, format!("Unknown match type {match_type}")));
        }
        if !["user", "client-id", "ip"].contains(&kind) {
            return Err((ErrorCode::UNSUPPORTED_VERSION, format!("Unsupported entity type {kind}")));
        }
        if !kinds.insert(kind) {
            let message = format!("Entity type {kind} cannot appear more than once in the filter.");
            return Err((ErrorCode::INVALID_REQUEST, message));
        }
    }
    Ok(())
}
