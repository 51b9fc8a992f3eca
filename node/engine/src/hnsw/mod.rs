//! Hierarchical navigable small world graphs (Malkov, Yashunin 2018).
