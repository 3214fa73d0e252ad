//! Graphics adapters that wgpu can reach, and what fits a device.

#[cfg(feature = "wgpu")]
use burn::tensor::{DeviceKind, wgpu::wgpu};
use serde::Serialize;

use crate::memory_limits::headroom;

/// What fits a device, in bytes; `None` where there is no limit or it cannot be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceLimits {
    /// The largest buffer that a kernel can bind. An allocation past it fails silently on wgpu.
    pub max_binding_bytes: Option<u64>,
    /// Memory that can be taken now: the least that free memory, the limits of the process and those of its control
    /// groups leave.
    pub available_bytes: Option<u64>,
    /// What leaves no more than that: `RLIMIT_DATA (ulimit -d)`.
    pub limited_by: Option<&'static str>,
}

impl DeviceLimits {
    pub(crate) fn of_memory() -> Self {
        let found = headroom();
        Self {
            max_binding_bytes: None,
            available_bytes: found.map(|found| found.bytes),
            limited_by: found.map(|found| found.limit),
        }
    }
}

/// Buffers that a kernel binds at most, its scalars included.
#[cfg(feature = "wgpu")]
const MAX_BUFFERS_OF_A_KERNEL: u32 = 14;

/// A graphics adapter that wgpu can reach.
#[derive(Clone, Debug, Serialize)]
pub struct Adapter {
    /// The adapter's own name.
    pub name: String,
    /// The graphics API: `vulkan`, `metal`, `dx12`, `gl`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` (software) or `other`.
    pub kind: &'static str,
    /// The driver and its version.
    pub driver: String,
    /// What fits it.
    pub limits: DeviceLimits,
    #[cfg(feature = "wgpu")]
    #[serde(skip)]
    max_buffers: u32,
    #[cfg(feature = "wgpu")]
    #[serde(skip)]
    pub(crate) device_kind: DeviceKind,
    /// Where wgpu lists it.
    #[cfg(feature = "wgpu")]
    #[serde(skip)]
    place: (wgpu::Backend, usize),
}

impl Adapter {
    /// Whether this is hardware rather than a software rasteriser.
    pub fn is_hardware(&self) -> bool {
        self.kind != "cpu"
    }

    /// Makes a device and drops it. A driver may list an adapter that makes none, and Burn would panic in the middle of the
    /// work.
    ///
    /// # Errors
    ///
    /// What the driver says.
    #[cfg(feature = "wgpu")]
    pub(crate) fn try_device(&self) -> std::result::Result<(), String> {
        let (backend, index) = self.place;
        look_at_adapters(backend, |adapters| {
            let adapter = adapters.get(index).ok_or("it is not listed any more")?;
            let descriptor = wgpu::DeviceDescriptor {
                required_limits: adapter.limits(),
                ..wgpu::DeviceDescriptor::default()
            };
            let device = futures_lite::future::block_on(adapter.request_device(&descriptor));
            device.map(drop).map_err(|error| error.to_string())
        })
    }

    /// Without the `wgpu` feature there are no adapters.
    ///
    /// # Errors
    ///
    /// Never.
    #[cfg(not(feature = "wgpu"))]
    pub(crate) fn try_device(&self) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// The adapters of the graphics API that Burn would settle on, in its order.
#[cfg(feature = "wgpu")]
pub fn adapters() -> Vec<Adapter> {
    use wgpu::Backend;
    let mut software_only = Vec::new();
    for backend in [Backend::Vulkan, Backend::Metal, Backend::Dx12, Backend::Gl] {
        let adapters = adapters_of(backend);
        if adapters.iter().any(Adapter::is_hardware) {
            return adapters;
        }
        if software_only.is_empty() {
            software_only = adapters;
        }
    }
    software_only
}

/// Without the `wgpu` feature there are none.
#[cfg(not(feature = "wgpu"))]
pub fn adapters() -> Vec<Adapter> {
    Vec::new()
}

/// Calls `look` with what wgpu lists of one graphics API.
#[cfg(feature = "wgpu")]
fn look_at_adapters<T>(backend: wgpu::Backend, look: impl FnOnce(Vec<wgpu::Adapter>) -> T) -> T {
    // The Vulkan loader crashes when instances come and go on several threads at once.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: backend.into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    look(futures_lite::future::block_on(instance.enumerate_adapters(backend.into())))
}

#[cfg(feature = "wgpu")]
fn adapters_of(backend: wgpu::Backend) -> Vec<Adapter> {
    look_at_adapters(backend, |adapters| describe(backend, &adapters))
}

#[cfg(feature = "wgpu")]
fn describe(backend: wgpu::Backend, adapters: &[wgpu::Adapter]) -> Vec<Adapter> {
    // Burn numbers the adapters of each kind on their own.
    let mut counts = [0usize; 3];
    adapters
        .iter()
        .enumerate()
        .map(|(index, adapter)| {
            let (info, limits) = (adapter.get_info(), adapter.limits());
            let mut next = |kind: usize| {
                counts[kind] += 1;
                counts[kind] - 1
            };
            let (kind, device_kind) = match info.device_type {
                wgpu::DeviceType::DiscreteGpu => ("discrete", DeviceKind::DiscreteGpu(next(0))),
                wgpu::DeviceType::IntegratedGpu => ("integrated", DeviceKind::IntegratedGpu(next(1))),
                wgpu::DeviceType::VirtualGpu => ("virtual", DeviceKind::VirtualGpu(next(2))),
                wgpu::DeviceType::Cpu => ("cpu", DeviceKind::Cpu),
                wgpu::DeviceType::Other => ("other", DeviceKind::DefaultDevice),
            };
            let max_binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
            Adapter {
                name: info.name,
                backend: format!("{:?}", info.backend).to_lowercase(),
                kind,
                driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
                limits: DeviceLimits { max_binding_bytes: Some(max_binding), ..DeviceLimits::default() },
                max_buffers: limits.max_storage_buffers_per_shader_stage,
                device_kind,
                place: (backend, index),
            }
        })
        .collect()
}

/// The adapters that can bind all buffers of every kernel.
pub(crate) fn usable_adapters() -> Vec<Adapter> {
    #[allow(unused_mut)]
    let mut adapters = adapters();
    #[cfg(feature = "wgpu")]
    adapters.retain(|adapter| adapter.max_buffers >= MAX_BUFFERS_OF_A_KERNEL);
    adapters
}
