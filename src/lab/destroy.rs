use std::fmt;
use std::path::{Path, PathBuf};

use super::xml::Element;
use super::{Converged, DomainState, Hypervisor, LabError, MadeKind, Mark, Registry};

/// Something of the lab that `destroy` removes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doomed {
    Vm {
        name: String,
        running: bool,
    },
    Volume {
        pool: String,
        name: String,
    },
    /// With the volume group or the folder where quaylab made that too.
    Pool {
        name: String,
        stands_on: StandsOn,
    },
    Network {
        name: String,
        active: bool,
    },
    /// A file or folder that remembers something of the lab.
    State(PathBuf),
}

/// What a pool stands on, as far as it goes with the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StandsOn {
    /// A volume group that quaylab made; it is no reason to lose volumes of others.
    VolumeGroup,
    /// A folder that quaylab made; it stays when something else lies in it.
    Folder,
    /// Something that was there before.
    Other,
}

impl fmt::Display for Doomed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vm { name, .. } => write!(f, "VM {name}"),
            Self::Volume { pool, name } => write!(f, "volume {pool}/{name}"),
            Self::Pool { name, stands_on: StandsOn::VolumeGroup } => {
                write!(f, "pool {name} with its volume group")
            }
            Self::Pool { name, .. } => write!(f, "pool {name}"),
            Self::Network { name, .. } => write!(f, "network {name}"),
            Self::State(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What was removed, and what could not be.
#[derive(Debug, Default)]
pub struct Destroyed {
    pub removed: Vec<Doomed>,
    pub failed: Vec<(Doomed, LabError)>,
}

/// What carries this lab's mark on a hypervisor, in the order in which it can be removed.
pub async fn plan_destroy(
    hypervisor: &Hypervisor,
    lab: &str,
    state_dir: &Path,
) -> Result<Vec<Doomed>, LabError> {
    let mark = Mark::new(lab);
    let uri = hypervisor.uri().to_owned();
    let made = Registry::new(state_dir).all()?;
    let mut doomed = hypervisor
        .call(move |driver| {
            let marked =
                |xml: &str| Ok::<_, LabError>(Mark::read(&Element::parse(xml)?).as_ref() == Some(&mark));
            let mut doomed = Vec::new();
            for name in driver.domains()? {
                if let Some(vm) = driver.domain(&name)?
                    && marked(&vm.xml)?
                {
                    let running = !matches!(vm.state, DomainState::Off | DomainState::Crashed);
                    doomed.push(Doomed::Vm { name, running });
                }
            }
            for thing in made.iter().filter(|m| m.uri == uri) {
                match (thing.kind, thing.name.split_once('/')) {
                    (MadeKind::Volume, Some((pool, name))) if driver.volume(pool, name)?.is_some() => {
                        doomed.push(Doomed::Volume { pool: pool.to_owned(), name: name.to_owned() });
                    }
                    (MadeKind::Pool, _) if driver.pool(&thing.name)?.is_some() => {
                        let stands_on = match thing.source.as_deref() {
                            Some(BUILT_VOLUME_GROUP) => StandsOn::VolumeGroup,
                            Some(BUILT_FOLDER) => StandsOn::Folder,
                            _ => StandsOn::Other,
                        };
                        doomed.push(Doomed::Pool { name: thing.name.clone(), stands_on });
                    }
                    _ => {}
                }
            }
            for name in driver.networks()? {
                if let Some(network) = driver.network(&name)?
                    && marked(&network.xml)?
                {
                    doomed.push(Doomed::Network { name, active: network.active });
                }
            }
            // Overlays go before what they lie on.
            doomed.sort_by_key(|d| (d.rank(), is_base(d)));
            Ok(doomed)
        })
        .await?;
    let remembered =
        ["hosts", "id_ed25519", "known_hosts", "secrets", "made.json", "kvm-probe", Converged::FILE]
            .map(|name| state_dir.join(name));
    doomed.extend(remembered.into_iter().filter(|path| path.exists()).map(Doomed::State));
    Ok(doomed)
}

/// What the registry notes of a pool whose volume group quaylab made.
pub const BUILT_VOLUME_GROUP: &str = "volume group";

/// What it notes of a pool whose folder quaylab made.
pub const BUILT_FOLDER: &str = "folder";

fn is_base(doomed: &Doomed) -> bool {
    matches!(doomed, Doomed::Volume { name, .. } if name.starts_with("quaylab-base-"))
}

impl Doomed {
    fn rank(&self) -> u8 {
        match self {
            Self::Vm { .. } => 0,
            Self::Volume { .. } => 1,
            Self::Pool { .. } => 2,
            Self::Network { .. } => 3,
            Self::State(_) => 4,
        }
    }
}

/// What is defined on a hypervisor, whoever made it.
pub async fn defined(hypervisor: &Hypervisor) -> Result<Vec<String>, LabError> {
    hypervisor
        .call(|d| {
            let named = |what: &str, names: Vec<String>| {
                names.into_iter().map(|name| format!("{what} {name}")).collect::<Vec<_>>()
            };
            Ok([named("VM", d.domains()?), named("pool", d.pools()?), named("network", d.networks()?)]
                .concat())
        })
        .await
}

/// Removes what was planned; goes on after a failure, and then keeps what is remembered of the lab.
pub async fn destroy(
    hypervisor: &Hypervisor,
    plan: Vec<Doomed>,
    state_dir: &Path,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Destroyed {
    let mut done = Destroyed::default();
    for doomed in plan {
        if matches!(doomed, Doomed::State(_)) && !done.failed.is_empty() {
            continue;
        }
        progress(&format!("removing {doomed}"));
        match remove(hypervisor, &doomed, state_dir).await {
            Ok(()) => done.removed.push(doomed),
            Err(error) => done.failed.push((doomed, error)),
        }
    }
    done
}

async fn remove(hypervisor: &Hypervisor, doomed: &Doomed, state_dir: &Path) -> Result<(), LabError> {
    let registry = Registry::new(state_dir);
    let uri = hypervisor.uri().to_owned();
    match doomed.clone() {
        Doomed::Vm { name, running } => {
            hypervisor
                .call(move |d| {
                    if running {
                        d.destroy_domain(&name)?;
                    }
                    d.undefine_domain(&name)
                })
                .await
        }
        Doomed::Volume { pool, name } => {
            let full = format!("{pool}/{name}");
            hypervisor.call(move |d| d.delete_volume(&pool, &name)).await?;
            registry.remove(&uri, MadeKind::Volume, &full)
        }
        Doomed::Pool { name, stands_on } => {
            let pool = name.clone();
            hypervisor
                .call(move |d| {
                    let Some(now) = d.pool(&name)? else { return Ok(()) };
                    if stands_on == StandsOn::VolumeGroup && now.active {
                        let foreign = d.volumes(&name)?;
                        if !foreign.is_empty() {
                            return Err(LabError::Conflict(format!(
                                "pool {name} holds volumes that quaylab did not make ({}), so its volume group stays",
                                foreign.join(", ")
                            )));
                        }
                    }
                    if now.active {
                        d.set_pool_active(&name, false)?;
                    }
                    match stands_on {
                        StandsOn::VolumeGroup => d.delete_pool(&name)?,
                        // Only an empty folder can be removed, and one with files of others is not to be.
                        StandsOn::Folder => drop(d.delete_pool(&name)),
                        StandsOn::Other => {}
                    }
                    d.undefine_pool(&name)
                })
                .await?;
            registry.remove(&uri, MadeKind::Pool, &pool)
        }
        Doomed::Network { name, active } => {
            hypervisor
                .call(move |d| {
                    if active {
                        d.set_network_active(&name, false)?;
                    }
                    d.undefine_network(&name)
                })
                .await
        }
        Doomed::State(path) => {
            let removing = format!("removing {}", path.display());
            let result =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            result.map_err(LabError::io(removing))
        }
    }
}
