//! Addresses as the encoder's input.
//!
//! ```text
//! IPv4 alone      bits[n, k]      = sign(ips[n], 31 - k),                         k in 0..32
//! both families   bits[n, k]      = sign(ips[n], 31 - k) if ips[n] < 2^32 else 0, k in 0..32
//!                 bits[n, 32 + k] = sign(ips[n], 63 - k) if ips[n] >= 2^32 else 0, k in 0..64
//! sign(ip, i)     = 2 · ((ip >> i) & 1) - 1: the most significant bit comes first
//! ```
//!
//! A bit is -1 or +1, not 0 or 1: inputs that are centred on zero train much faster (LeCun et al.,
//! "Efficient BackProp", 1998). The functions that the first layer can express are the same. The bits of the other
//! family are 0, which is neither.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};

use crate::addresses::{Addresses, is_ipv6};
use crate::shape::{Families, NUM_IPV4_BITS};

/// The reference, and the CPU twin: fills `bits`, `[ips.len(), n]`.
pub fn bits_on_slices(ips: Addresses<'_>, families: Families, bits: &mut [f32]) {
    for (ip, bits) in ips.iter().zip(bits.chunks_exact_mut(families.num_bits())) {
        bits.fill(0.0);
        let own = if is_ipv6(ip) { &mut bits[NUM_IPV4_BITS..] } else { &mut bits[..NUM_IPV4_BITS] };
        for (bit, shift) in own.iter_mut().rev().zip(0..) {
            *bit = 2.0 * ((ip >> shift) & 1) as f32 - 1.0;
        }
    }
}

/// The bits of one address, for references.
pub(crate) fn bits_of(ip: u64, families: Families) -> Vec<f32> {
    let mut bits = vec![0.0; families.num_bits()];
    bits_on_slices(Addresses::new(&[ip as u32, (ip >> 32) as u32], Families::Both), families, &mut bits);
    bits
}

/// Spreads addresses into bits on the device that holds them.
///
/// # Shapes
///
/// - `ips`: `[N · words]`, unsigned 32-bit integers as in [`crate::addresses`]
/// - output: `[N, n]`: -1.0 or 1.0; 0.0 where the address is of the other family
pub fn ip_bits(ips: Tensor<1, Int>, families: Families) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::ip_bits(ips.into_dispatch(), families))
}

/// The backend extension behind [`ip_bits`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait BitsBackend: Backend {
    /// See [`ip_bits`].
    fn ip_bits(ips: IntTensor<Self>, families: Families) -> FloatTensor<Self>;
}

impl BitsBackend for burn_ndarray::NdArray {
    fn ip_bits(ips: IntTensor<Self>, families: Families) -> FloatTensor<Self> {
        let ips = crate::host::u32_array(ips);
        let ips = Addresses::new(crate::host::slice(&ips), families);
        let mut bits = vec![0.0; ips.len() * families.num_bits()];
        bits_on_slices(ips, families, &mut bits);
        crate::host::tensor(bits, &[ips.len(), families.num_bits()])
    }
}

#[cfg(feature = "wgpu")]
#[allow(unsafe_code, reason = "a kernel is launched without bounds checks; see the SAFETY comment")]
pub(crate) mod device {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::CubeBackend;
    use cubecl::prelude::*;

    use super::*;
    use crate::launch;

    /// Bits of an IPv4 address, and of an IPv6 address, as the kernels count them.
    const IPV4_BITS: u32 = NUM_IPV4_BITS as u32;
    const IPV6_BITS: u32 = crate::shape::NUM_IPV6_BITS as u32;

    /// The sign of a bit of a word, the most significant bit first.
    #[cube]
    pub(crate) fn sign(word: u32, bit: u32) -> f32 {
        select((word >> (31u32 - bit)) & 1u32 == 1u32, 1.0f32, -1.0f32)
    }

    /// Element `k` of h_0 of address `n`.
    #[cube]
    pub(crate) fn bit(ips: &[u32], n: usize, k: u32, #[comptime] families: Families) -> f32 {
        match comptime!(families) {
            Families::Ipv4 => sign(ips[n], k),
            Families::Both => {
                let low = ips[2 * n];
                let high = ips[2 * n + 1];
                // Of IPv6 bit 0 is element 32: the high word's, then the low word's.
                let of_ipv6 = k >= IPV4_BITS;
                let is_high = of_ipv6 && k < comptime!(IPV4_BITS + IPV6_BITS / 2);
                let word = select(is_high, high, low);
                select(of_ipv6 == (high != 0u32), sign(word, k % 32u32), 0.0f32)
            }
        }
    }

    /// One unit per bit.
    #[cube(launch_unchecked)]
    fn bits_kernel(ips: &[u32], bits: &mut [f32], len: u32, #[comptime] families: Families) {
        let position = ABSOLUTE_POS;
        if position >= len as usize {
            terminate!();
        }
        let width = comptime!(families.num_bits());
        bits[position] = bit(ips, position / width, (position % width) as u32, families);
    }

    impl BitsBackend for CubeBackend {
        fn ip_bits(ips: IntTensor<Self>, families: Families) -> FloatTensor<Self> {
            let ips = launch::contiguous(ips);
            let num_ips = ips.meta.shape()[0] / families.num_words();
            let bits = launch::empty_like(&ips, Shape::new([num_ips, families.num_bits()]), DType::F32);
            let len = num_ips * families.num_bits();
            let (count, dim) = launch::one_unit_each(&ips, len);
            launch::count_launch();
            // SAFETY: the kernel checks its position against N·n, the length of the output, and reads the words
            // of the address at an n-th of it.
            unsafe {
                bits_kernel::launch_unchecked(
                    &ips.client.clone(),
                    count,
                    dim,
                    ips.into_buffer_arg(),
                    bits.clone().into_buffer_arg(),
                    len as u32,
                    families,
                );
            }
            bits
        }
    }
}
