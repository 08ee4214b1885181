//! ListConfigResources: what has settings, by type.

use corelog_replication::metadata::ResourceType;

use super::Call;
use crate::protocol::list_config_resources::{ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse};
use crate::protocol::{ErrorCode, Text};

/// `ConfigResource.Type.BROKER_LOGGER`: one for each broker.
const BROKER_LOGGER: i8 = 8;

pub(super) async fn handle(call: Call, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    let client_metrics = ResourceType::ClientMetrics.id();
    let all =
        [ResourceType::Topic.id(), ResourceType::Broker.id(), BROKER_LOGGER, client_metrics, ResourceType::Group.id()];
    let kinds = match (call.version, request.resource_types.is_empty()) {
        (0, _) => vec![client_metrics],
        (_, true) => all.to_vec(),
        (_, false) => request.resource_types,
    };
    if kinds.iter().any(|kind| !all.contains(kind)) {
        return ListConfigResourcesResponse { error_code: ErrorCode::UNSUPPORTED_VERSION, ..Default::default() };
    }
    let image = call.server.broker.image();
    let mut config_resources = Vec::new();
    for resource_type in all.into_iter().filter(|kind| kinds.contains(kind)) {
        let named = |name: &str| ConfigResource { resource_name: Text::from(name), resource_type };
        match ResourceType::from_id(resource_type) {
            Some(ResourceType::Topic) => {
                config_resources.extend(image.topics().into_iter().map(|topic| named(&topic.name)));
            }
            Some(ResourceType::Broker) | None => {
                config_resources.extend(image.brokers().map(|broker| named(&broker.node.0.to_string())));
            }
            Some(kind) => config_resources.extend(image.config_resources(kind).map(|name| named(name))),
        }
    }
    ListConfigResourcesResponse { config_resources, ..Default::default() }
}
