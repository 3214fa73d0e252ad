use std::ops::Range;

use burn::config::Config;
use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ipsight_kernels::gather::gather;
use ipsight_kernels::uniform::{Uniform, uniform};

/// Bound of the initial entity vectors. Near zero, so that every score starts near zero and the first
/// mini-batch's cross entropy is ln 2.
const INIT_BOUND: f32 = 0.01;

/// The table's id among the tensors whose initial weights are drawn; the encoder's layers come after it.
const TENSOR_ID: u32 = 0;

/// Configuration of an [`EntityEmbedding`].
#[derive(Config, Debug)]
pub struct EntityEmbeddingConfig {
    /// N, rows of the table.
    pub num_entity_vectors: usize,
    /// d, floats of an entity's vector.
    pub vector_dim: usize,
    /// Rows a shard may have: what fits one buffer binding of the device.
    pub max_rows_per_shard: usize,
    /// Seed of the initial weights, which do not depend on the sharding.
    #[config(default = 0)]
    pub seed: u64,
}

/// A table of the entities' vectors, `[num_entity_vectors, vector_dim]`. In shards of whole rows because a buffer
/// binding of a GPU is limited (128 MiB to 2 GiB through wgpu).
///
/// It lives on a plain device, never on an autodiff one: a gradient of the table would be as large as the
/// table, and a step needs it for the touched rows only.
#[derive(Module, Debug)]
pub struct EntityEmbedding {
    /// `[rows, vector_dim]` each; all but the last have the same number of rows.
    pub shards: Vec<Param<Tensor<2>>>,
    num_entity_vectors: usize,
    vector_dim: usize,
    #[module(skip)]
    sharding: Sharding,
}

impl EntityEmbeddingConfig {
    /// Makes the table with small uniform vectors.
    pub fn init(&self, device: &Device) -> EntityEmbedding {
        self.build(|first_row, rows| {
            // Scores grow with the root of the width: keep the first ones near zero at any width.
            let bound = INIT_BOUND * (128.0 / self.vector_dim as f32).sqrt().min(1.0);
            let weights = Uniform::init(self.seed, TENSOR_ID, first_row as u32, bound);
            uniform([rows, self.vector_dim], weights, &device.clone().inner())
        })
    }

    /// Makes the table from its rows, `num_entity_vectors x vector_dim` floats.
    pub fn from_rows(&self, mut weights: Vec<f32>, device: &Device) -> EntityEmbedding {
        assert_eq!(weights.len(), self.num_entity_vectors * self.vector_dim);
        self.build(|first_row, rows| {
            // A table in one shard is not copied.
            let start = first_row * self.vector_dim;
            let part = match rows == self.num_entity_vectors {
                true => std::mem::take(&mut weights),
                false => weights[start..start + rows * self.vector_dim].to_vec(),
            };
            Tensor::from_data(TensorData::new(part, [rows, self.vector_dim]), &device.clone().inner())
        })
    }

    /// Which shard has which rows.
    pub fn sharding(&self) -> Sharding {
        Sharding { rows_per_shard: self.max_rows_per_shard.min(self.num_entity_vectors) }
    }

    fn build(&self, mut shard: impl FnMut(usize, usize) -> Tensor<2>) -> EntityEmbedding {
        let sharding = self.sharding();
        let shards = sharding.shards(self.num_entity_vectors);
        self.with_shards(shards.map(|rows| shard(rows.start, rows.len())).collect())
    }

    /// Makes the table from its shards.
    pub(crate) fn with_shards(&self, shards: Vec<Tensor<2>>) -> EntityEmbedding {
        EntityEmbedding {
            shards: shards.into_iter().map(|shard| Param::initialized(ParamId::new(), shard)).collect(),
            num_entity_vectors: self.num_entity_vectors,
            vector_dim: self.vector_dim,
            sharding: self.sharding(),
        }
    }
}

/// Rows of a table, ascending, on its device.
#[derive(Debug)]
pub struct RowIndex {
    /// For each shard that has some of the rows.
    pub parts: Vec<ShardRows>,
}

/// Rows of one shard.
#[derive(Debug)]
pub struct ShardRows {
    /// The shard's number.
    pub shard: usize,
    /// Which of the rows that were asked for these are.
    pub range: Range<usize>,
    /// Their numbers within the shard.
    pub rows: Tensor<1, Int>,
}

/// Which shard of a table has which rows.
#[derive(Clone, Copy, Debug)]
pub struct Sharding {
    /// Of every shard but the last, which may have fewer.
    rows_per_shard: usize,
}

impl Sharding {
    /// The rows of each shard of a table of `num_rows`.
    pub fn shards(&self, num_rows: usize) -> impl Iterator<Item = Range<usize>> {
        let rows_per_shard = self.rows_per_shard;
        (0..num_rows).step_by(rows_per_shard).map(move |start| start..(start + rows_per_shard).min(num_rows))
    }

    /// Splits ascending rows by shard: its number, which of the rows are in it, and their numbers within it.
    pub fn split(&self, rows: &[u32]) -> Vec<(usize, Range<usize>, Vec<i32>)> {
        debug_assert!(rows.is_sorted());
        let mut parts = Vec::new();
        let mut start = 0;
        while start < rows.len() {
            let shard = rows[start] as usize / self.rows_per_shard;
            let first_row = (shard * self.rows_per_shard) as u32;
            let len = rows[start..].partition_point(|row| *row as usize / self.rows_per_shard == shard);
            let local = rows[start..start + len].iter().map(|row| (row - first_row) as i32).collect();
            parts.push((shard, start..start + len, local));
            start += len;
        }
        parts
    }
}

impl EntityEmbedding {
    /// N, rows of the table.
    pub fn num_entity_vectors(&self) -> usize {
        self.num_entity_vectors
    }

    /// d, floats of an entity's vector.
    pub fn vector_dim(&self) -> usize {
        self.vector_dim
    }

    /// Which shard has which rows.
    pub fn sharding(&self) -> Sharding {
        self.sharding
    }

    /// The device of the table.
    pub fn device(&self) -> Device {
        self.shards[0].val().device()
    }

    /// Uploads row numbers; `rows` must be ascending (duplicates are welcome). One shard's are neighbours then.
    pub fn index(&self, rows: &[u32]) -> RowIndex {
        let device = self.device();
        let split = self.sharding().split(rows).into_iter();
        let parts = split
            .map(|(shard, range, local)| ShardRows { shard, range, rows: index_tensor(local, &device) })
            .collect();
        RowIndex { parts }
    }

    /// Gathers rows.
    ///
    /// # Shapes
    ///
    /// - `index`: of B rows
    /// - output: `[B, vector_dim]`, in the order of the index
    pub fn forward(&self, index: &RowIndex) -> Tensor<2> {
        let gather = |part: &ShardRows| gather(self.shards[part.shard].val(), part.rows.clone());
        match index.parts.as_slice() {
            [one] => gather(one),
            parts => Tensor::cat(parts.iter().map(gather).collect(), 0),
        }
    }
}

/// Uploads indices as 32-bit signed integers, the index type that every backend takes.
pub fn index_tensor(indices: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let len = indices.len();
    Tensor::from_data(TensorData::new(indices, [len]), (device, DType::I32))
}
