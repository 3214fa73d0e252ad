//! A safetensors file that is written in pieces.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};

use super::checksums::FileEntry;
use crate::{Error, Result};

// Tensors are written as they lie in memory, and safetensors are little-endian.
const _: () = assert!(cfg!(target_endian = "little"));

/// Name, type and shape of a tensor that is to come.
#[derive(Clone, Debug)]
pub(crate) struct TensorHead {
    pub(crate) name: Cow<'static, str>,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
}

impl TensorHead {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, dtype: DType, shape: &[usize]) -> Self {
        Self { name: name.into(), dtype, shape: shape.to_vec() }
    }

    fn num_bytes(&self) -> u64 {
        (self.shape.iter().product::<usize>() * self.dtype.size()) as u64
    }
}

/// A safetensors file that is written piece by piece, and hashed on the way: what will be written is declared first, and
/// no tensor is ever there as a whole. The `safetensors` crate writes only what lies in memory.
///
/// Format: <https://huggingface.co/docs/safetensors/index#format>.
pub(crate) struct TensorFile {
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    num_missing: u64,
}

impl TensorFile {
    /// Begins the file.
    pub(crate) fn create(path: &Path, heads: &[TensorHead]) -> Result<Self> {
        let mut header = serde_json::Map::new();
        let mut start = 0;
        for head in heads {
            let end = start + head.num_bytes();
            let dtype = match head.dtype {
                DType::F64 => "F64",
                DType::U32 => "U32",
                DType::U64 => "U64",
                _ => "F32",
            };
            let entry = serde_json::json!({
                "dtype": dtype, "shape": head.shape, "data_offsets": [start, end],
            });
            header.insert(head.name.to_string(), entry);
            start = end;
        }
        let mut header = serde_json::Value::from(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut file =
            Self { path: path.to_path_buf(), file, hasher: blake3::Hasher::new(), num_missing: start };
        file.put(&(header.len() as u64).to_le_bytes()).map_err(Error::io("write", path))?;
        file.put(&header).map_err(Error::io("write", path))?;
        Ok(file)
    }

    /// Appends the next values of the tensors.
    pub(crate) fn write(&mut self, piece: &TensorData) -> Result<()> {
        self.write_bytes(piece.as_bytes())
    }

    /// Appends the next bytes of the tensors.
    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.num_missing = self.num_missing.saturating_sub(bytes.len() as u64);
        self.put(bytes).map_err(Error::io("write", &self.path))
    }

    /// Syncs it and gives its size and hash, or an error where tensors are missing.
    pub(crate) fn finish(self) -> Result<FileEntry> {
        if self.num_missing > 0 {
            let cut_off = io::Error::other("the training ended while it was being written");
            return Err(Error::io("write", &self.path)(cut_off));
        }
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        let blake3 = self.hasher.finalize().to_hex().to_string();
        Ok(FileEntry { bytes: self.hasher.count(), blake3 })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use safetensors::{Dtype, SafeTensors};

    use super::*;

    #[test]
    fn the_safetensors_crate_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let head = |name, dtype, shape: &[usize]| TensorHead::new(name, dtype, shape);
        let heads = [
            head("a", DType::F32, &[3, 2]),
            head("none", DType::F64, &[0, 5]),
            head("b", DType::F64, &[1]),
            head("c", DType::U32, &[3]),
        ];
        let mut file = TensorFile::create(&path, &heads).unwrap();
        for rows in [vec![1.0f32, 2.0, 3.0, 4.0], vec![5.0, 6.0]] {
            let shape = [rows.len() / 2, 2];
            file.write(&TensorData::new(rows, shape)).unwrap();
        }
        file.write(&TensorData::new(Vec::<f64>::new(), [0, 5])).unwrap();
        file.write(&TensorData::new(vec![0.1f64], [1])).unwrap();
        file.write(&TensorData::new(vec![7u32, 8, u32::MAX], [3])).unwrap();
        let entry = file.finish().unwrap();
        assert_eq!(entry, crate::model_folder::file_entry(&path).unwrap());

        let bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let a = tensors.tensor("a").unwrap();
        assert_eq!((a.dtype(), a.shape()), (Dtype::F32, &[3, 2][..]));
        assert_eq!(a.data(), [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat());
        assert_eq!(tensors.tensor("none").unwrap().shape(), [0, 5]);
        assert_eq!(tensors.tensor("b").unwrap().data(), 0.1f64.to_le_bytes());
        assert_eq!(tensors.tensor("c").unwrap().data(), [7u32, 8, u32::MAX].map(u32::to_le_bytes).concat());
    }

    #[test]
    fn a_file_whose_tensors_do_not_all_come_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let heads = [TensorHead::new("a", DType::F32, &[3])];
        let mut file = TensorFile::create(&folder.path().join("x"), &heads).unwrap();
        file.write(&TensorData::new(vec![1.0f32, 2.0], [2])).unwrap();
        assert_eq!(file.finish().unwrap_err().exit_code(), 4);
    }
}
