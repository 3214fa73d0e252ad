use burn::module::Module;
use burn::tensor::{Int, Tensor};
use ipsight_kernels::memory::{MEMORY_SCALE, MemoryShape};

use super::index_tensor;
use super::ip_encoder::host_ips;

/// A memory of (entity, address prefix) pairs, as [`ipsight_kernels::memory`] says. Its weights are cells of the
/// entity's row in the table.
#[derive(Module, Debug)]
pub struct PrefixMemory {
    /// Its cells and prefixes.
    #[module(skip)]
    pub shape: MemoryShape,
}

impl PrefixMemory {
    /// The sum of the cells of each address, in the plain form.
    ///
    /// # Shapes
    ///
    /// - `cells`: `[B, C]`, of the entities' rows
    /// - `tags`: B, of the entities
    /// - `ips`: `[B · P]`, unsigned 32-bit integers
    /// - output: `[B, P]`
    pub fn forward(&self, cells: Tensor<2>, tags: &[u32], ips: &Tensor<1, Int>) -> Tensor<2> {
        let (num_rows, device) = (tags.len(), cells.device());
        let ips = host_ips(ips);
        let num_pairs = ips.len() / num_rows;
        let of_length = |length| {
            let cell = |(i, ip): (usize, &u32)| self.shape.cell(tags[i / num_pairs], *ip, length) as i32;
            let places = index_tensor(ips.iter().enumerate().map(cell).collect(), &device);
            cells.clone().gather(1, places.reshape([num_rows, num_pairs]))
        };
        self.shape
            .lengths
            .iter()
            .map(of_length)
            .reduce(Tensor::add)
            .expect("the memory has lengths")
            .mul_scalar(MEMORY_SCALE)
    }
}
