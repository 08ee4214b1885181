//! Changing settings of topics, brokers and groups: one by one (KIP-339) or all at once.
//!
//! What a setting may be is known where settings are known; the caller brings that knowledge as a [`ConfigCheck`], which
//! sees all settings that the resource would have.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::ConfigMap;
use super::decision::{Decision, MetadataError, Refusal};
use super::image::ClusterImage;
use super::name;
use super::record::{Config, MetadataRecord, ResourceType};
use super::topics::{repeated, unknown};

/// Whether a resource may have these settings: its type, its name, what it would have.
pub type ConfigCheck<'a> = &'a dyn Fn(ResourceType, &str, &ConfigMap) -> Result<(), MetadataError>;

/// What is known of settings where settings are known.
#[derive(Clone, Copy)]
pub struct ConfigRules<'a> {
    /// Whether a resource may have its settings.
    pub check: ConfigCheck<'a>,
    /// The items of a list at its default, by the resource's type and the setting; `None` for what is no list.
    pub list_default: &'a dyn Fn(ResourceType, &str) -> Option<String>,
}

/// A resource that has settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: String,
}

/// What is done to one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOperation {
    /// It gets this value.
    Set,
    /// It goes back to its default.
    Delete,
    /// The value's items join the list.
    Append,
    /// The value's items leave the list.
    Subtract,
}

impl AlterOperation {
    /// The operation with Kafka's id (`AlterConfigOp.OpType`).
    pub fn from_id(id: i8) -> Option<AlterOperation> {
        Some(match id {
            0 => AlterOperation::Set,
            1 => AlterOperation::Delete,
            2 => AlterOperation::Append,
            3 => AlterOperation::Subtract,
            _ => return None,
        })
    }
}

/// Settings with their values; one without a value is left at its default.
pub type Settings = Vec<(String, Option<String>)>;

/// A change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterConfig {
    /// The setting.
    pub key: String,
    /// What is done to it.
    pub operation: AlterOperation,
    /// The value; without meaning for a deletion.
    pub value: Option<String>,
}

/// Changes single settings. A list is appended to from its present value, or from its default.
pub fn decide_incremental_alter_configs(
    image: &ClusterImage,
    resources: &[(ConfigResource, Vec<AlterConfig>)],
    rules: ConfigRules<'_>,
) -> Decision<Vec<Result<(), MetadataError>>> {
    decide(image, resources, rules.check, |resource, present, changes| {
        let repeated = repeated(changes.iter().map(|change| change.key.as_str()));
        if let Some(key) = repeated.iter().min() {
            let message = format!("Error due to duplicate config keys: {key}");
            return Err(MetadataError::new(Refusal::InvalidRequest, message));
        }
        let mut wanted = present.clone();
        for change in changes {
            apply(&mut wanted, change, &|key| (rules.list_default)(resource.kind, key))?;
        }
        Ok(wanted)
    })
}

/// Replaces all settings of resources: what is not named goes back to its default.
pub fn decide_alter_configs(
    image: &ClusterImage,
    resources: &[(ConfigResource, Settings)],
    check: ConfigCheck<'_>,
) -> Decision<Vec<Result<(), MetadataError>>> {
    decide(image, resources, check, |_, _, settings| {
        let repeated = repeated(settings.iter().map(|(key, _)| key.as_str()));
        if let Some(key) = repeated.iter().min() {
            let message = format!("Error due to duplicate config keys: {key}");
            return Err(MetadataError::new(Refusal::InvalidRequest, message));
        }
        if let Some((key, _)) = settings.iter().find(|(_, value)| value.is_none()) {
            let message = format!("Null value not supported for : {key}");
            return Err(MetadataError::new(Refusal::InvalidRequest, message));
        }
        let set = settings.iter().filter_map(|(key, value)| Some((key.as_str().into(), value.as_deref()?.into())));
        Ok(set.collect())
    })
}

fn decide<C>(
    image: &ClusterImage,
    resources: &[(ConfigResource, Vec<C>)],
    check: ConfigCheck<'_>,
    want: impl Fn(&ConfigResource, &ConfigMap, &[C]) -> Result<ConfigMap, MetadataError>,
) -> Decision<Vec<Result<(), MetadataError>>> {
    let mut seen = FxHashSet::default();
    let repeated: FxHashSet<&ConfigResource> =
        resources.iter().map(|(resource, _)| resource).filter(|resource| !seen.insert(*resource)).collect();
    let mut records = Vec::new();
    let reply = resources
        .iter()
        .map(|(resource, changes)| {
            if repeated.contains(resource) {
                let message = "Each resource must appear at most once.";
                return Err(MetadataError::new(Refusal::InvalidRequest, message));
            }
            if resource.kind == ResourceType::Topic {
                name::validate(&resource.name).map_err(|message| MetadataError::new(Refusal::InvalidTopic, message))?;
            }
            if resource.kind == ResourceType::Topic && image.topic(&resource.name).is_none() {
                return Err(unknown(&resource.name));
            }
            let nothing = ConfigMap::new();
            let present = image.configs(resource.kind, &resource.name).unwrap_or(&nothing);
            let wanted = want(resource, present, changes)?;
            check(resource.kind, &resource.name, &wanted)?;
            records.extend(difference(resource, present, &wanted));
            Ok(())
        })
        .collect();
    Decision { records, reply }
}

fn apply(
    settings: &mut ConfigMap,
    change: &AlterConfig,
    list_default: &dyn Fn(&str) -> Option<String>,
) -> Result<(), MetadataError> {
    let key: Arc<str> = change.key.as_str().into();
    if change.operation == AlterOperation::Delete {
        settings.remove(&key);
        return Ok(());
    }
    let value = change.value.as_deref().ok_or_else(|| {
        let message = format!("Null value not supported for : {key}");
        MetadataError::new(Refusal::InvalidRequest, message)
    })?;
    if change.operation == AlterOperation::Set {
        settings.insert(key, value.into());
        return Ok(());
    }
    let default = list_default(&key).ok_or_else(|| {
        let operation = if change.operation == AlterOperation::Append { "APPEND" } else { "SUBTRACT" };
        let message = format!("Can't {operation} to key {key} because its type is not LIST.");
        MetadataError::new(Refusal::InvalidConfig, message)
    })?;
    let present = settings.get(&key).map_or(default, |value| value.to_string());
    let mut items: Vec<&str> = items(&present).collect();
    for item in self::items(value) {
        let at = items.iter().position(|present| *present == item);
        match (change.operation, at) {
            (AlterOperation::Append, None) => items.push(item),
            (AlterOperation::Subtract, Some(at)) => {
                items.remove(at);
            }
            _ => {}
        }
    }
    settings.insert(key, items.join(",").into());
    Ok(())
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The records that lead from the present settings to the wanted ones; none where they are equal.
fn difference<'a>(
    resource: &'a ConfigResource,
    present: &'a ConfigMap,
    wanted: &'a ConfigMap,
) -> impl Iterator<Item = MetadataRecord> + 'a {
    let name: Arc<str> = resource.name.as_str().into();
    let set = wanted.iter().filter(|(key, value)| present.get(*key) != Some(value)).map(|(k, v)| (k, Some(v.clone())));
    let unset = present.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key, None));
    set.chain(unset).map(move |(key, value)| {
        MetadataRecord::Config(Config { resource: resource.kind, name: name.clone(), key: key.clone(), value })
    })
}
