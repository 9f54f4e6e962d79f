use std::time::{Duration, Instant};

use super::{DomainState, Hypervisor, LabError};

/// A guest that boots does not hear the first request, so it is made again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(250);

/// What became of a VM that was to be started or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It was like that already.
    Already,
    Started,
    PoweredOff,
    /// It did not power off by itself.
    SwitchedOff,
}

/// Starts a VM that is off, or goes on with one that is paused.
pub async fn start_vm(hypervisor: &Hypervisor, name: &str) -> Result<Power, LabError> {
    let vm = name.to_owned();
    hypervisor
        .call(move |d| match d.domain(&vm)?.map(|now| now.state) {
            None => Err(LabError::failed(format!("VM {vm}"), "there is no such VM")),
            Some(DomainState::Running) => Ok(Power::Already),
            Some(DomainState::Paused) => d.resume_domain(&vm).map(|()| Power::Started),
            Some(DomainState::Off | DomainState::Crashed) => d.start_domain(&vm).map(|()| Power::Started),
        })
        .await
}

/// Asks a guest to power off and waits until it has; only with `force` it is switched off when it does not.
pub async fn stop_vm(
    hypervisor: &Hypervisor,
    name: &str,
    patience: Duration,
    force: bool,
) -> Result<Power, LabError> {
    let since = Instant::now();
    let mut asked: Option<Instant> = None;
    loop {
        let vm = name.to_owned();
        let state = hypervisor.call(move |d| Ok(d.domain(&vm)?.map(|now| now.state))).await?;
        match state {
            None => return Err(LabError::failed(format!("VM {name}"), "there is no such VM")),
            Some(DomainState::Off | DomainState::Crashed) => {
                return Ok(if asked.is_none() { Power::Already } else { Power::PoweredOff });
            }
            // A paused guest hears nothing.
            Some(DomainState::Paused) => {
                let vm = name.to_owned();
                hypervisor.call(move |d| d.resume_domain(&vm)).await?;
            }
            Some(DomainState::Running) => {}
        }
        if since.elapsed() >= patience {
            break;
        }
        if asked.is_none_or(|at| at.elapsed() >= ASK_AGAIN) {
            let vm = name.to_owned();
            // Between the look and the request it may have gone by itself; the next look tells.
            let refused = hypervisor.call(move |d| d.shutdown_domain(&vm)).await.err();
            if asked.is_none()
                && let Some(error) = refused
            {
                return Err(error);
            }
            asked = Some(Instant::now());
        }
        tokio::time::sleep(POLL.min(patience)).await;
    }
    if !force {
        return Err(LabError::failed(
            format!("VM {name}"),
            format!("it did not power off within {} s", patience.as_secs()),
        )
        .with_hint(
            "--force switches it off after that time, as pulling the plug does; --timeout gives it longer",
        ));
    }
    let vm = name.to_owned();
    hypervisor.call(move |d| d.destroy_domain(&vm)).await?;
    Ok(Power::SwitchedOff)
}
