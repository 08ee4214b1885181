//! DeleteAcls: there is no authorizer, which has an answer of its own.

use super::Call;
use super::describe_acls::NO_AUTHORIZER;
use crate::protocol::ErrorCode;
use crate::protocol::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse};

pub(super) async fn handle(_: Call, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult {
        error_code: ErrorCode::SECURITY_DISABLED,
        error_message: Some(NO_AUTHORIZER.into()),
        matching_acls: Vec::new(),
    };
    DeleteAclsResponse { filter_results: vec![refused; request.filters.len()], ..Default::default() }
}
