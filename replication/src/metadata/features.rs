//! Raising and lowering the level of features (KIP-584, KIP-778), and the features that there are.

use super::decision::{Decision, MetadataError, Refusal};
use super::image::ClusterImage;
use super::record::{FeatureLevel, FeatureRange, MetadataRecord};
use crate::NodeId;

/// `metadata.version` 4.1-IV1: the records of this module are those of Kafka 4.1.
pub const METADATA_VERSION: i16 = 27;
/// The lowest `metadata.version` that a 4.x broker accepts, 3.3-IV3.
pub const METADATA_VERSION_MIN: i16 = 7;
/// The feature by which the formats of the metadata log are known.
pub const METADATA_VERSION_FEATURE: &str = "metadata.version";
/// The feature that has the group protocol of KIP-848.
pub const GROUP_VERSION_FEATURE: &str = "group.version";

/// The features of this program: name, lowest level, highest level, the level that a new cluster begins with.
pub const FEATURES: [(&str, i16, i16, i16); 2] = [
    (METADATA_VERSION_FEATURE, METADATA_VERSION_MIN, METADATA_VERSION, METADATA_VERSION),
    (GROUP_VERSION_FEATURE, 0, 1, 1),
];

/// What a change of a level may do (`FeatureUpdate.UpgradeType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    /// Only raise it.
    Upgrade,
    /// Lower it, if nothing is lost.
    SafeDowngrade,
    /// Lower it at any price.
    UnsafeDowngrade,
}

impl UpgradeType {
    /// The type with Kafka's id.
    pub fn from_id(id: i8) -> Option<UpgradeType> {
        Some(match id {
            1 => UpgradeType::Upgrade,
            2 => UpgradeType::SafeDowngrade,
            3 => UpgradeType::UnsafeDowngrade,
            _ => return None,
        })
    }
}

/// A feature that is to have another level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// Its name.
    pub name: String,
    /// The level; 0 turns it off.
    pub level: i16,
    /// What the change may do; `None` for what Kafka does not know.
    pub upgrade: Option<UpgradeType>,
}

/// The levels that this program can run.
pub fn supported() -> Vec<FeatureRange> {
    FEATURES.into_iter().map(|(name, min, max, _)| FeatureRange { name: name.into(), min, max }).collect()
}

/// The records with which a new cluster begins.
pub fn first_levels() -> impl Iterator<Item = MetadataRecord> {
    FEATURES
        .into_iter()
        .map(|(name, _, _, level)| MetadataRecord::FeatureLevel(FeatureLevel { name: name.into(), level }))
}

/// Changes levels, all or none (`FeatureControlManager.updateFeatures`).
pub fn decide_update_features(
    image: &ClusterImage,
    node: NodeId,
    updates: &[FeatureUpdate],
) -> Decision<Result<(), MetadataError>> {
    let mut records = Vec::new();
    for (index, update) in updates.iter().enumerate() {
        let checked = match updates[..index].iter().any(|earlier| earlier.name == update.name) {
            true => {
                Err(MetadataError::new(Refusal::InvalidRequest, format!("{} is named more than once.", update.name)))
            }
            false => check(image, node, update),
        };
        match checked {
            Ok(false) => {}
            Ok(true) => {
                let (name, level) = (update.name.as_str().into(), update.level);
                records.push(MetadataRecord::FeatureLevel(FeatureLevel { name, level }));
            }
            Err(error) => {
                let message = format!(
                    "The update failed for all features since the following feature had an error: {}",
                    error.message
                );
                return Decision::only(Err(MetadataError::new(error.refusal, message)));
            }
        }
    }
    Decision { records, reply: Ok(()) }
}

/// Whether the level changes.
fn check(image: &ClusterImage, node: NodeId, update: &FeatureUpdate) -> Result<bool, MetadataError> {
    let FeatureUpdate { name, level, .. } = update;
    let refuse = |why: String| {
        let message = format!("Invalid update version {level} for feature {name}. {why}");
        Err(MetadataError::new(Refusal::InvalidUpdateVersion, message))
    };
    let Some(upgrade) = update.upgrade else {
        return refuse("The controller does not support the given upgrade type.".into());
    };
    if *level < 0 {
        return refuse("A feature version cannot be less than 0.".into());
    }
    let Some((_, min, max, _)) = FEATURES.into_iter().find(|(feature, ..)| feature == name) else {
        return refuse(format!("Local controller {node} does not support this feature."));
    };
    let is_off = *level == 0 && name != METADATA_VERSION_FEATURE;
    if !is_off && !(min..=max).contains(level) {
        return refuse(format!("Local controller {node} only supports versions {min}-{max}"));
    }
    let present = image.features().get(name.as_str()).copied().unwrap_or(0);
    if *level < present && upgrade == UpgradeType::Upgrade {
        return refuse(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
                .into(),
        );
    }
    if *level > present && upgrade != UpgradeType::Upgrade {
        return refuse("Can't upgrade with a downgrade type.".into());
    }
    if *level < present && name == METADATA_VERSION_FEATURE {
        return refuse("The records of this metadata.version are all there are; it cannot be lowered.".into());
    }
    Ok(*level != present)
}
