//! DescribeUserScramCredentials (key 50), version 0: which users have passwords (KIP-554).

use super::{ErrorCode, Text, api, message};

api! {
    /// DescribeUserScramCredentials.
    DescribeUserScramCredentials = 50, versions 0..=0, flexible from 0, DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse
}

message! {
    /// Users to tell of.
    pub struct DescribeUserScramCredentialsRequest {
        /// The users; null or empty for all.
        users: Option<Vec<UserName>> = Some(Vec::new()),
    }

    /// A user to tell of.
    pub struct UserName {
        /// Its name.
        name: Text,
    }

    /// The users.
    pub struct DescribeUserScramCredentialsResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// Whether the whole request failed.
        error_code: ErrorCode,
        /// The same in words.
        error_message: Option<Text> = Some(Text::default()),
        /// By user.
        results: Vec<DescribeUserScramCredentialsResult>,
    }

    /// A user.
    pub struct DescribeUserScramCredentialsResult {
        /// Its name.
        user: Text,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
        /// Its passwords, without the passwords.
        credential_infos: Vec<CredentialInfo>,
    }

    /// A password, without the password.
    pub struct CredentialInfo {
        /// The mechanism.
        mechanism: i8,
        /// The iterations.
        iterations: i32,
    }
}
