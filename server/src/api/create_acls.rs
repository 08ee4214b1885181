//! CreateAcls: there is no authorizer, which has an answer of its own.

use super::Call;
use super::describe_acls::NO_AUTHORIZER;
use crate::protocol::ErrorCode;
use crate::protocol::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};

pub(super) async fn handle(_: Call, request: CreateAclsRequest) -> CreateAclsResponse {
    let refused =
        AclCreationResult { error_code: ErrorCode::SECURITY_DISABLED, error_message: Some(NO_AUTHORIZER.into()) };
    CreateAclsResponse { results: vec![refused; request.creations.len()], ..Default::default() }
}
