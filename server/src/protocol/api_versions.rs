//! ApiVersions (key 18), versions 0-4: which APIs and versions the broker speaks, and its features.
//!
//! v1 throttle time; v2 same; v3 flexible, the client says what it is (KIP-511), features (KIP-584); v4 features may have
//! level 0 (KAFKA-17011). A request of an unknown version is answered in v0 with UNSUPPORTED_VERSION.

use super::{ErrorCode, Text, api, message};

api! {
    /// ApiVersions.
    ApiVersions = 18, versions 0..=4, flexible from 3, ApiVersionsRequest => ApiVersionsResponse
}

message! {
    /// A client introduces itself.
    pub struct ApiVersionsRequest {
        /// The client's name.
        client_software_name: Text [3..],
        /// The client's version.
        client_software_version: Text [3..],
    }

    /// What the broker speaks.
    pub struct ApiVersionsResponse {
        /// Whether the request's version is spoken.
        error_code: ErrorCode,
        /// The APIs.
        api_keys: Vec<ApiVersion>,
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// Features that the broker has.
        supported_features: Vec<SupportedFeatureKey> [3.., tag 0],
        /// The epoch of the finalized features; -1 for none.
        finalized_features_epoch: i64 [3.., tag 1] = -1,
        /// Features at the level that the cluster uses.
        finalized_features: Vec<FinalizedFeatureKey> [3.., tag 2],
        /// Of the time of ZooKeeper (KIP-866).
        zk_migration_ready: bool [3.., tag 3],
    }

    /// An API that is spoken.
    pub struct ApiVersion {
        /// Its key.
        api_key: i16,
        /// The first version.
        min_version: i16,
        /// The last version.
        max_version: i16,
    }

    /// A feature that the broker has.
    pub struct SupportedFeatureKey {
        /// Its name.
        name: Text,
        /// The lowest level.
        min_version: i16,
        /// The highest level.
        max_version: i16,
    }

    /// A feature that the cluster uses.
    pub struct FinalizedFeatureKey {
        /// Its name.
        name: Text,
        /// The highest level.
        max_version_level: i16,
        /// The lowest level.
        min_version_level: i16,
    }
}
