//! DescribeClientQuotas (key 48), versions 0-1: what clients may use (KIP-546).
//!
//! v1 flexible.

use super::{ErrorCode, Text, api, message};

api! {
    /// DescribeClientQuotas.
    DescribeClientQuotas = 48, versions 0..=1, flexible from 1, DescribeClientQuotasRequest => DescribeClientQuotasResponse
}

message! {
    /// Which quotas to tell of.
    pub struct DescribeClientQuotasRequest {
        /// What the entity must have.
        components: Vec<ComponentData>,
        /// Whether it may have nothing else.
        strict: bool,
    }

    /// A part of an entity.
    pub struct ComponentData {
        /// Its type: user, client-id or ip.
        entity_type: Text,
        /// 0 for this name, 1 for the default, 2 for any name.
        match_type: i8,
        /// The name.
        _match: Option<Text> = Some(Text::default()),
    }

    /// The quotas.
    pub struct DescribeClientQuotasResponse {
        /// For how long the client was held back, in milliseconds.
        throttle_time_ms: i32,
        /// What is wrong.
        error_code: ErrorCode,
        /// What is wrong, in words.
        error_message: Option<Text> = Some(Text::default()),
        /// By entity.
        entries: Option<Vec<EntryData>> = Some(Vec::new()),
    }

    /// The quotas of an entity.
    pub struct EntryData {
        /// Its parts.
        entity: Vec<EntityData>,
        /// The quotas.
        values: Vec<ValueData>,
    }

    /// A part of an entity.
    pub struct EntityData {
        /// Its type.
        entity_type: Text,
        /// Its name; null for the default.
        entity_name: Option<Text> = Some(Text::default()),
    }

    /// A quota.
    pub struct ValueData {
        /// Its name.
        key: Text,
        /// Its value.
        value: f64,
    }
}
