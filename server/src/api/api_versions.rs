//! ApiVersions: the table of the protocol, as an answer.

use corelog_replication::metadata::ClusterImage;

use super::{Answer, Answering, Call};
use crate::protocol::api_versions::{
    ApiVersion, ApiVersions, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::{APIS, Api, ErrorCode, Text, encode_response};

pub(super) async fn handle(call: Call, request: ApiVersionsRequest) -> ApiVersionsResponse {
    if call.version >= 3
        && !(is_software(&request.client_software_name) && is_software(&request.client_software_version))
    {
        return ApiVersionsResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() };
    }
    call.peer.is_of(&request.client_software_name, &request.client_software_version);
    let image = call.server.broker.image();
    ApiVersionsResponse { api_keys: served(), ..features(&image, call.server.broker.node) }
}

/// The answer to a version that is not served: in v0, which every client reads, with the versions that are (KIP-511).
pub(super) fn unsupported(call: &Call) -> Answering {
    let facts = ApiVersions::FACTS;
    let own = ApiVersion { api_key: facts.key, min_version: facts.version_min, max_version: facts.version_max };
    let response =
        ApiVersionsResponse { error_code: ErrorCode::UNSUPPORTED_VERSION, api_keys: vec![own], ..Default::default() };
    let frame = encode_response::<ApiVersions>(call.correlation_id, 0, &response);
    Box::pin(std::future::ready(Answer::Frame(frame)))
}

fn served() -> Vec<ApiVersion> {
    let served = APIS.iter().map(|api| ApiVersion {
        api_key: api.key,
        min_version: api.version_min_advertised,
        max_version: api.version_max,
    });
    served.collect()
}

fn features(image: &ClusterImage, node: corelog_replication::NodeId) -> ApiVersionsResponse {
    let supported = image.broker(node).map(|broker| {
        let features = broker.features.iter();
        features.map(|feature| SupportedFeatureKey {
            name: Text::from(&*feature.name),
            min_version: feature.min,
            max_version: feature.max,
        })
    });
    let finalized = image.features().iter().map(|(name, level)| FinalizedFeatureKey {
        name: Text::from(&**name),
        max_version_level: *level,
        min_version_level: *level,
    });
    ApiVersionsResponse {
        supported_features: supported.into_iter().flatten().collect(),
        finalized_features_epoch: image.next_offset().0,
        finalized_features: finalized.collect(),
        ..Default::default()
    }
}

/// Kafka's pattern for what a client calls itself: letters and digits, with dashes and dots between (KIP-511).
fn is_software(name: &str) -> bool {
    let is_end = |byte: u8| byte.is_ascii_alphanumeric();
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|&first| is_end(first))
        && bytes.last().is_some_and(|&last| is_end(last))
        && bytes.iter().all(|&byte| is_end(byte) || byte == b'-' || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_call_themselves_as_kafka_allows() {
        for good in ["a", "librdkafka", "apache-kafka-java", "2.15.0-RC1", "1"] {
            assert!(is_software(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "a\n", "ä"] {
            assert!(!is_software(bad), "{bad}");
        }
    }
}
