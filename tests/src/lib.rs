//! System tests of Quiver.
