//! UpdateFeatures (key 57), versions 0-2: raises or lowers the level of features (KIP-584, KIP-778).
//!
//! v1 the type of change and a dry run; v2 the answer has one error for all.

use super::{ErrorCode, Text, api, message};

api! {
    /// UpdateFeatures.
    UpdateFeatures = 57, versions 0..=2, flexible from 0, UpdateFeaturesRequest => UpdateFeaturesResponse
}

message! {
    /// Features to change.
    pub struct UpdateFeaturesRequest {
        /// How long to wait for it, in milliseconds.
        timeout_ms: i32 = 60_000,
        /// The features.
        feature_updates: Vec<FeatureUpdateKey>,
        /// Only say whether it would work.
        validate_only: bool [1..],
    }

    /// A feature to change.
    pub struct FeatureUpdateKey {
        /// Its name.
        feature: Text,
        /// The level; below 1 turns it off.
        max_version_level: i16,
        /// Whether the level may go down.
        allow_downgrade: bool [..=0],
        /// 1 only up, 2 down without a loss, 3 down at any price.
        upgrade_type: i8 [1..] = 1,
    }

    /// What became of them.
    pub struct UpdateFeaturesResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// Whether the whole request failed.
        error_code: ErrorCode,
        /// The same in words.
        error_message: Option<Text> = Some(Text::default()),
        /// By feature.
        results: Vec<UpdatableFeatureResult> [..=1],
    }

    /// What became of a feature.
    pub struct UpdatableFeatureResult {
        /// Its name.
        feature: Text,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
    }
}
