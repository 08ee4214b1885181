//! DescribeCluster: the brokers of the cluster image.

use super::Call;
use super::metadata::CLUSTER_OPERATIONS;
use crate::protocol::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};
use crate::protocol::metadata::OPERATIONS_NOT_ASKED;
use crate::protocol::{ErrorCode, Text};

/// `EndpointType.BROKER`.
const BROKERS: i8 = 1;
/// `EndpointType.CONTROLLER`.
const CONTROLLERS: i8 = 2;

pub(super) async fn handle(call: Call, request: DescribeClusterRequest) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        let (error_code, wanted) = match request.endpoint_type {
            CONTROLLERS => (ErrorCode::MISMATCHED_ENDPOINT_TYPE, "CONTROLLER"),
            _ => (ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, "UNKNOWN"),
        };
        let message =
            format!("The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type {wanted}");
        return DescribeClusterResponse { error_code, error_message: Some(Text::from(message)), ..Default::default() };
    }
    let broker = &call.server.broker;
    let image = broker.image();
    let brokers = image.brokers().filter(|registered| request.include_fenced_brokers || !registered.fenced);
    let brokers = brokers.filter_map(|registered| {
        let endpoint = registered.endpoint(&call.listener)?;
        Some(DescribeClusterBroker {
            broker_id: registered.node.0,
            host: Text::from(&*endpoint.host),
            port: endpoint.port.into(),
            rack: registered.rack.as_deref().map(Text::from),
            is_fenced: registered.fenced,
        })
    });
    DescribeClusterResponse {
        cluster_id: Text::from(&**image.cluster_id()),
        controller_id: broker.node.0,
        brokers: brokers.collect(),
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        },
        ..Default::default()
    }
}
