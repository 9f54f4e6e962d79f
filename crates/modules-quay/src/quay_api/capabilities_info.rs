use async_trait::async_trait;
use serde_json::json;

use super::place::{Place, asks_quay};
use crate::args::Presence;
use crate::value::Map;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

asks_quay! {
    /// Tells what this Quay can do (3.17 and later); nobody has to log in for it.
    pub(super) struct QuayCapabilitiesInfo {}
}

#[async_trait]
impl Action for QuayCapabilitiesInfo {
    const NAME: &'static str = "quay_capabilities_info";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_capabilities_info", "infra.quay_configuration.quay_capabilities_info"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let quay = self.quay(cx)?;
        let told = Place::quay().list().look(cx, &quay, "registry/capabilities", Presence::Present).await?;
        Ok(Outcome::ok(Map::from_iter([("capabilities".to_owned(), json!(told))])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use crate::value::Value;

    #[test]
    fn nothing_must_be_said() {
        let read = |args: Value| {
            let Value::Object(args) = args else { panic!("a mapping") };
            from_args::<QuayCapabilitiesInfo>(args)
        };
        assert_eq!(read(json!({})).expect("arguments").quay_host, "http://127.0.0.1");
        assert!(
            !read(json!({"quay_host": "quay.io", "verify_ssl": "no"})).expect("arguments").validate_certs
        );
        assert!(read(json!({"state": "present"})).is_err());
    }
}
