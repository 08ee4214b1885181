//! DescribeClientQuotas: there are no quotas, which is what a broker says that was never given any.

use super::Call;
use crate::protocol::describe_client_quotas::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

pub(super) async fn handle(_: Call, _: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse { error_message: None, ..Default::default() }
}
