//! DescribeUserScramCredentials: nobody has a password, which is what a broker says that was never given any.

use super::Call;
use crate::protocol::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, DescribeUserScramCredentialsResult,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(
    _: Call,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let users = request.users.into_iter().flatten();
    let results = users.map(|user| DescribeUserScramCredentialsResult {
        error_code: ErrorCode::RESOURCE_NOT_FOUND,
        error_message: Some(Text::from(format!(
            "Attempt to describe a user credential that does not exist: {}",
            user.name
        ))),
        user: user.name,
        credential_infos: Vec::new(),
    });
    DescribeUserScramCredentialsResponse { error_message: None, results: results.collect(), ..Default::default() }
}
