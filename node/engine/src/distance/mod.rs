//! Distance kernels: scalar twins, AVX2, AVX-512 and NEON behind one dispatch.
