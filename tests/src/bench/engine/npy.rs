//! Matrices in NumPy's files: `f2` and `f4`, little-endian, row after row (format of numpy.lib.format).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Headers end before here.
const HEADER_MAX: usize = 4096;

/// A matrix whose rows are read one at a time.
pub struct Matrix {
    file: File,
    start: usize,
    pub rows: usize,
    pub columns: usize,
    half: bool,
}

impl Matrix {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let size = file.metadata()?.len() as usize;
        let mut head = vec![0u8; HEADER_MAX.min(size)];
        file.read_exact_at(&mut head, 0)?;
        ensure!(head.len() > 12 && head.starts_with(b"\x93NUMPY"), "{} is no .npy file", path.display());
        let (from, length) = match head[6] {
            1 => (10, usize::from(u16::from_le_bytes([head[8], head[9]]))),
            _ => (12, u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize),
        };
        let header = std::str::from_utf8(head.get(from..from + length).context("the header is cut")?)?;
        let half = match header {
            h if h.contains("'<f4'") => false,
            h if h.contains("'<f2'") => true,
            _ => bail!("{}: only f2 and f4 are read: {header}", path.display()),
        };
        ensure!(header.contains("'fortran_order': False"), "{} is in column order", path.display());
        let shape = header.split("'shape': (").nth(1).and_then(|s| s.split(')').next()).context("a shape")?;
        let numbers: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
        let [rows, columns] = numbers[..] else { bail!("{} is no matrix", path.display()) };
        let start = from + length;
        let bytes = rows * columns * if half { 2 } else { 4 };
        ensure!(size >= start + bytes, "{} is cut", path.display());
        Ok(Self { file, start, rows, columns, half })
    }

    /// One row as `f32`.
    pub fn row(&self, row: usize) -> Result<Vec<f32>> {
        let width = if self.half { 2 } else { 4 };
        let mut bytes = vec![0u8; self.columns * width];
        let at = (self.start + row * bytes.len()) as u64;
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(match self.half {
            true => bytes.chunks_exact(2).map(|b| from_half(u16::from_le_bytes([b[0], b[1]]))).collect(),
            false => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        })
    }
}

/// A number of half precision (IEEE 754-2008, binary16).
fn from_half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}
