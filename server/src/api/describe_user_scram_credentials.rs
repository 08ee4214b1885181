//! DescribeUserScramCredentials: nobody has a password, which is what a broker says that was never given any.

use std::collections::BTreeMap;

use super::Call;
use crate::protocol::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, DescribeUserScramCredentialsResult,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(
    _: Call,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let names: Vec<Text> = request.users.into_iter().flatten().map(|user| user.name).collect();
    // How often each is asked for; it is answered once.
    let mut times: BTreeMap<&Text, usize> = BTreeMap::new();
    names.iter().for_each(|name| *times.entry(name).or_default() += 1);
    let results = times.into_iter().map(|(name, times)| {
        let (error_code, message) = match times {
            1 => (
                ErrorCode::RESOURCE_NOT_FOUND,
                format!("Attempt to describe a user credential that does not exist: {name}"),
            ),
            _ => (
                ErrorCode::DUPLICATE_RESOURCE,
                format!("Cannot describe SCRAM credentials for the same user twice in a single request: {name}"),
            ),
        };
        DescribeUserScramCredentialsResult {
            error_code,
            error_message: Some(Text::from(message)),
            user: name.clone(),
            credential_infos: Vec::new(),
        }
    });
    DescribeUserScramCredentialsResponse { error_message: None, results: results.collect(), ..Default::default() }
}
