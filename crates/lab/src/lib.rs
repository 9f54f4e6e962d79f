//! The lab on its hypervisor: libvirt's networks, pools, volumes and VMs, cloud-init, and the wait until a VM is ready.
//!
//! What is declared is typed, what has to be done is planned by pure functions, and libvirt is one trait (`Driver`) away.

use quaylab_base::{archive, diag, diff, store, turns, value};
use quaylab_host as host;

mod address;
mod by_hand;
mod cache_folder;
mod checksum;
mod cloud_init;
mod connection;
mod console;
mod converged;
mod convert;
mod denials;
mod destroy;
mod details;
mod disk_files;
mod doctor;
mod domain;
mod domain_plan;
mod download;
mod driver;
mod error;
mod fill;
mod guest_boot;
mod guest_words;
mod host_dns;
mod hypervisors;
mod image;
mod image_cache;
mod image_content;
mod install;
mod installer;
mod keys;
mod kickstart;
mod kvm;
mod ledger;
mod leftovers;
#[cfg(feature = "libvirt")]
mod libvirt;
mod libvirt_form;
#[cfg(feature = "libvirt")]
mod libvirt_library;
mod lvm;
mod mark;
mod network;
mod network_plan;
mod network_written;
mod placement;
mod pool;
mod pool_written;
mod power;
pub mod private;
mod private_file;
mod relay;
mod remote;
mod replug;
mod reservation;
mod room;
mod sidecar;
mod snapshot;
mod snapshot_take;
mod spec;
mod status;
mod unpack;
mod volume;
mod wait;
mod wait_failure;
mod written;
mod xml;

pub use by_hand::{ByHand, DiskFiles, DiskNow, disks_now, left_alone, unexpected};
pub use cache_folder::default_cache_dir;
pub use cloud_init::{GuestSetup, Seed, mac_address};
pub use connection::{DEFAULT_URI, Hypervisor};
pub use console::Console;
pub use converged::{Converged, RoleState, RoleStates};
use denials::denials;
pub use destroy::{
    BUILT_FOLDER, BUILT_VOLUME_GROUP, Destroyed, Doomed, SnapshotFile, StandsOn, defined, destroy,
    plan_addresses, plan_destroy,
};
pub use details::{VmDetails, VmDisk, disks, vm_details};
pub use disk_files::{UsedDisk, below, disk_files, own_files, used_disks};
pub use doctor::{
    DeclaredNetwork, Finding, Level, Listener, Person, Route, listeners, memory_budget, network_findings,
    port_findings, qemu_person, routes, space_budget, traversable,
};
pub use domain::{DirectBoot, DiskSpec, DomainSpec, Firmware, disk_format, disk_name, disks_of};
pub use domain_plan::{DomainObserved, DomainStep, DomainWish, VmState, at_next_boot, plan_domain};
pub use driver::{
    ConsoleStream, Defined, DomainNow, DomainState, Driver, Lease, NetworkUpdate, UpdateCommand,
    UpdateSection, VolumeNow,
};
pub use error::LabError;
pub use fill::{Filler, Owner};
pub use guest_words::{check_user_data, guest_hostname};
pub use host_dns::{GuestName, HostDns, Resolver, Zone};
pub use hypervisors::Hypervisors;
pub use image::ImageRequest;
pub use image_cache::{CachedImage, cached_images, note_digest, noted_digest, users_of_images};
pub use image_content::{ImageContent, Unfit, read_content};
pub use install::{InstallSpec, InstallState, InstallStep, Installation, check_media_pool, plan_install};
pub use installer::{Installer, InstallerFiles};
pub use keys::{KeyPair, host_dir, host_key, login_key};
pub use kickstart::{GuestAccess, with_access};
pub use kvm::{Accelerator, KvmProbe, kvm_of, probe_kvm};
pub use ledger::Ledger;
pub use leftovers::lent;
pub use lvm::{LogicalVolume, Lvm, Tags};
pub use mark::{Made, MadeKind, Mark, NAMESPACE, Registry};
pub use network::{DnsHost, Forward, NetworkSpec, Subnet, prefix_of};
pub use network_plan::{NetworkState, NetworkStep, NetworkWanted, NetworkWish, plan_network};
pub use network_written::WrittenNetwork;
pub use placement::{Candidate, Guest, place};
pub use pool::{PoolKind, PoolNow, PoolSpec, PoolState, PoolStep, PoolWanted, plan_pool};
pub use pool_written::WrittenPool;
pub use power::{Power, start_vm, stop_vm};
pub use private_file::write_private;
pub use remote::{RemoteUri, encoded};
pub use replug::replug;
pub use reservation::{Guest as DhcpGuest, check_address, plan_reservation};
pub use snapshot::{DiskKind, Snapshot, SnapshotDisk, SnapshotVm, Snapshots, check_snapshot_name};
pub use snapshot_take::{Hold, SnapshotLab};
pub use spec::{
    Declarations, GuestDisk, GuestSpec, HypervisorSpec, ImageSpec, Placed, PoolEntry, disk_bytes,
};
pub use status::{VmIdentity, VmStatus, lab_status};
pub use volume::{
    DiskUser, GIB, SourceImage, VolumeContent, VolumeFormat, VolumeSpec, VolumeState, VolumeStep,
    plan_volume, volume_warnings, volume_xml,
};
pub use wait::{Limits, WaitRequest, Waited, wait_for_vm};
pub use wait_failure::{Stage, WaitFailure, Why};
pub use xml::Element;
