//! FindCoordinator: this broker, which has all groups. The topic that keeps them is created when it is first asked for.

use corelog_replication::metadata::NewTopic;

use super::Call;
use super::create_topics::create;
use crate::groups::OFFSETS_TOPIC;
use crate::protocol::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse, GROUP, SHARE, TRANSACTION,
};
use crate::protocol::{ErrorCode, Text};

/// The first version that asks for many at once.
const MANY_VERSION: i16 = 4;
/// The first version that knows share groups.
const SHARE_VERSION: i16 = 6;

pub(super) async fn handle(call: Call, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let checked = check(&call, request.key_type).await;
    if call.version >= MANY_VERSION {
        let coordinators = request.coordinator_keys.into_iter().map(|key| found(&call, key, &checked));
        return FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() };
    }
    let Coordinator { node_id, host, port, error_code, error_message, .. } = found(&call, request.key, &checked);
    FindCoordinatorResponse { error_code, error_message, node_id, host, port, ..Default::default() }
}

/// Whether there are coordinators of this kind, and where they keep what they know.
async fn check(call: &Call, kind: i8) -> Result<(), (ErrorCode, String)> {
    match kind {
        GROUP => have_topic(call).await,
        TRANSACTION => Err((ErrorCode::COORDINATOR_NOT_AVAILABLE, "Transactions are not coordinated here.".into())),
        SHARE if call.version >= SHARE_VERSION => {
            Err((ErrorCode::COORDINATOR_NOT_AVAILABLE, "Share groups are not coordinated here.".into()))
        }
        other => Err((ErrorCode::INVALID_REQUEST, format!("There is no kind {other} of coordinators."))),
    }
}

async fn have_topic(call: &Call) -> Result<(), (ErrorCode, String)> {
    let settings = &call.server.broker.settings.groups;
    if call.server.broker.image().topic(OFFSETS_TOPIC).is_some() {
        return Ok(());
    }
    let configs = [
        ("cleanup.policy", "compact".to_string()),
        ("compression.type", "producer".to_string()),
        ("segment.bytes", settings.offsets_segment_bytes.to_string()),
    ];
    let topic = NewTopic {
        name: OFFSETS_TOPIC.into(),
        partitions: settings.offsets_partitions,
        // There is one broker.
        replication_factor: 1,
        assignments: Vec::new(),
        configs: configs.into_iter().map(|(name, value)| (name.to_string(), Some(value))).collect(),
    };
    match create(call, vec![topic], false).await.pop() {
        Some(Ok(_) | Err((ErrorCode::TOPIC_ALREADY_EXISTS, _))) => Ok(()),
        Some(Err((_, message))) => Err((ErrorCode::COORDINATOR_NOT_AVAILABLE, message)),
        None => unreachable!("one topic has one outcome"),
    }
}

fn found(call: &Call, key: Text, checked: &Result<(), (ErrorCode, String)>) -> Coordinator {
    let none = |error_code, message: &str| Coordinator {
        key: key.clone(),
        node_id: -1,
        port: -1,
        error_code,
        error_message: Some(Text::from(message)),
        ..Default::default()
    };
    if let Err((code, message)) = checked {
        return none(*code, message);
    }
    let broker = &call.server.broker;
    let image = broker.image();
    let endpoint = image.broker(broker.node).and_then(|registered| registered.endpoint(&call.listener));
    match endpoint {
        Some(endpoint) => Coordinator {
            key: key.clone(),
            node_id: broker.node.0,
            host: Text::from(&*endpoint.host),
            port: endpoint.port.into(),
            ..Default::default()
        },
        None => none(ErrorCode::COORDINATOR_NOT_AVAILABLE, "The broker is not known by this listener's name."),
    }
}
