//! DescribeConfigs: the settings of a resource with where each value comes from.

use corelog_replication::metadata::{ClusterImage, ConfigMap, ResourceType, name};
use rustc_hash::FxHashSet;

use super::Call;
use super::alter_configs::BROKER_LOGGER;
use crate::broker::Broker;
use crate::config::resource::Dynamic;
use crate::config::{Kind, table};
use crate::described::{self, ConfigSource, Described};
use crate::loggers;
use crate::protocol::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let broker = &call.server.broker;
    let image = broker.image();
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    let results = request.resources.into_iter().map(|mut resource| {
        // Kafka takes no keys at all for all of them.
        resource.configuration_keys = resource.configuration_keys.filter(|keys| !keys.is_empty());
        let (error_code, error_message, configs) = match describe(broker, &image, &resource) {
            Ok(_) if resource.resource_type == BROKER_LOGGER => {
                (ErrorCode::NONE, None, levels(resource.configuration_keys.as_deref()))
            }
            Ok(mut described) => {
                if let Some(keys) = &resource.configuration_keys {
                    let wanted: FxHashSet<&str> = keys.iter().map(|key| key.as_str()).collect();
                    described.retain(|setting| wanted.contains(&*setting.name));
                }
                let configs = described.into_iter().map(|setting| result(setting, synonyms, documentation));
                (ErrorCode::NONE, None, configs.collect())
            }
            Err((code, message)) => (code, Some(Text::from(message)), Vec::new()),
        };
        DescribeConfigsResult {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs,
        }
    });
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }
}

fn describe(
    broker: &Broker,
    image: &ClusterImage,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Described>, (ErrorCode, String)> {
    let wanted = &*resource.resource_name;
    let dynamic = Dynamic::of(image, broker.node);
    let none = ConfigMap::new();
    let set = |kind| image.configs(kind, wanted).unwrap_or(&none);
    match ResourceType::from_id(resource.resource_type) {
        Some(kind @ ResourceType::Topic) => {
            name::validate(wanted).map_err(|reason| (ErrorCode::INVALID_TOPIC_EXCEPTION, reason))?;
            if image.topic(wanted).is_none() {
                let message = format!("This server does not host the topic {wanted}.");
                return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
            }
            Ok(described::topic(&broker.settings, dynamic, set(kind)))
        }
        Some(ResourceType::Broker) if wanted.is_empty() => Ok(described::all_brokers(dynamic)),
        Some(ResourceType::Broker) if wanted.parse() == Ok(broker.node.0) => {
            Ok(described::broker(&broker.settings, dynamic))
        }
        Some(ResourceType::Broker) => {
            let node = broker.node.0;
            let message = format!("Unexpected broker id, expected {node} or empty string, but received {wanted}");
            Err((ErrorCode::INVALID_REQUEST, message))
        }
        Some(ResourceType::Group) if wanted.is_empty() => {
            Err((ErrorCode::INVALID_REQUEST, "Group name must not be empty".into()))
        }
        Some(kind @ ResourceType::Group) => {
            Ok(described::other(&broker.settings, dynamic, table::group_keys(), ConfigSource::Group, set(kind)))
        }
        Some(ResourceType::ClientMetrics) if wanted.is_empty() => {
            Err((ErrorCode::INVALID_REQUEST, "Client metrics subscription name must not be empty".into()))
        }
        Some(kind @ ResourceType::ClientMetrics) => Ok(described::other(
            &broker.settings,
            dynamic,
            table::client_metrics_keys(),
            ConfigSource::ClientMetrics,
            set(kind),
        )),
        None if resource.resource_type == BROKER_LOGGER => {
            let node = broker.node.0;
            let message = match wanted.parse::<i32>() {
                Ok(id) if id == node => return Ok(Vec::new()),
                Ok(_) => format!("Unexpected broker id, expected {node} but received {wanted}"),
                Err(_) if wanted.is_empty() => "Broker id must not be empty".into(),
                Err(_) => format!("Broker id must be an integer, but it is: {wanted}"),
            };
            Err((ErrorCode::INVALID_REQUEST, message))
        }
        None => Err((ErrorCode::INVALID_REQUEST, format!("Unsupported resource type: {}", resource.resource_type))),
    }
}

/// The loggers with their levels, or those of them that are wanted.
fn levels(wanted: Option<&[Text]>) -> Vec<DescribeConfigsResourceResult> {
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted.iter().any(|one| one.as_str() == name));
    let levels = loggers::levels().into_iter().filter(|(name, _)| is_wanted(name));
    let told = levels.map(|(name, level)| DescribeConfigsResourceResult {
        name: Text::from_static(name),
        value: Some(Text::from(&*level)),
        config_source: ConfigSource::BrokerLogger as i8,
        ..Default::default()
    });
    told.collect()
}

fn result(setting: Described, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    let is_sensitive = setting.is_sensitive();
    let told = setting.synonyms.into_iter().filter(|_| synonyms).map(|synonym| DescribeConfigsSynonym {
        name: Text::from(synonym.name),
        value: synonym.value.map(Text::from),
        source: synonym.source as i8,
    });
    DescribeConfigsResourceResult {
        name: Text::from(setting.name),
        value: setting.value.map(Text::from),
        read_only: setting.read_only,
        config_source: setting.source as i8,
        is_sensitive,
        synonyms: told.collect(),
        config_type: type_id(&setting.key.kind),
        documentation: documentation.then(|| Text::from(setting.key.documentation())),
    }
}

/// Kafka's id of a setting's type (`DescribeConfigsResponse.ConfigType`).
fn type_id(kind: &Kind) -> i8 {
    match kind.type_name() {
        "boolean" => 1,
        "string" => 2,
        "int" => 3,
        "short" => 4,
        "long" => 5,
        "double" => 6,
        "list" => 7,
        "class" => 8,
        "password" => 9,
        other => unreachable!("{other} is a type"),
    }
}
