//! DescribeAcls: there is no authorizer, which has an answer of its own.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};

/// Kafka's sentence.
pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured on the broker";

pub(super) async fn handle(_: Call, _: DescribeAclsRequest) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: ErrorCode::SECURITY_DISABLED,
        error_message: Some(NO_AUTHORIZER.into()),
        ..Default::default()
    }
}
