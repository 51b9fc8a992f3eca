//! Payload indexes from the wire to the engine and back, and the values of facets.

use quiver_api::collections as api;
use quiver_api::facet::{FacetHit, FacetValue as WireValue};
use quiver_api::text_index as wire;
use quiver_engine::config::{FieldSchema, FieldType, Memory};
use quiver_engine::payload_index::FacetValue;
use quiver_engine::text::{Stemmer, Stopwords, TextParams, Tokenizer};

/// A payload index.
pub fn field_schema(s: &api::FieldSchema) -> FieldSchema {
    let kind = |k| match k {
        api::FieldType::Keyword => FieldType::Keyword,
        api::FieldType::Integer => FieldType::Integer,
        api::FieldType::Float => FieldType::Float,
        api::FieldType::Bool => FieldType::Bool,
        api::FieldType::Datetime => FieldType::Datetime,
        api::FieldType::Uuid => FieldType::Uuid,
        api::FieldType::Geo => FieldType::Geo,
        api::FieldType::Text => FieldType::Text,
    };
    match s {
        api::FieldSchema::Type(k) => FieldSchema::plain(kind(*k)),
        api::FieldSchema::Params(p) => FieldSchema {
            kind: kind(p.kind),
            lookup: p.lookup,
            range: p.range,
            is_tenant: p.is_tenant,
            is_principal: p.is_principal,
            on_disk: p.on_disk,
            enable_hnsw: p.enable_hnsw,
            prefix: p.prefix.filter(|_| p.kind == api::FieldType::Keyword),
            memory: p.memory.map(|memory| match memory {
                api::Memory::Cold => Memory::Cold,
                api::Memory::Cached => Memory::Cached,
                api::Memory::Pinned => Memory::Pinned,
            }),
            text: (p.kind == api::FieldType::Text).then(|| Box::new(text_params(&p.text))),
            with_params: true,
        },
    }
}

/// A payload index for the wire.
pub fn wire_field_schema(s: &FieldSchema) -> api::FieldSchema {
    let kind = match s.kind {
        FieldType::Keyword => api::FieldType::Keyword,
        FieldType::Integer => api::FieldType::Integer,
        FieldType::Float => api::FieldType::Float,
        FieldType::Bool => api::FieldType::Bool,
        FieldType::Datetime => api::FieldType::Datetime,
        FieldType::Uuid => api::FieldType::Uuid,
        FieldType::Geo => api::FieldType::Geo,
        FieldType::Text => api::FieldType::Text,
    };
    if !s.with_params {
        return api::FieldSchema::Type(kind);
    }
    api::FieldSchema::Params(api::FieldParams {
        kind,
        lookup: s.lookup,
        range: s.range,
        is_tenant: s.is_tenant,
        is_principal: s.is_principal,
        on_disk: s.on_disk,
        enable_hnsw: s.enable_hnsw,
        prefix: s.prefix,
        memory: s.memory.map(|memory| match memory {
            Memory::Cold => api::Memory::Cold,
            Memory::Cached => api::Memory::Cached,
            Memory::Pinned => api::Memory::Pinned,
        }),
        text: s.text.as_deref().map(wire_text_params).unwrap_or_default(),
    })
}

/// How texts are cut.
pub fn text_params(p: &wire::TextParams) -> TextParams {
    let name = |language: &wire::Language| language.as_str().to_owned();
    TextParams {
        tokenizer: p.tokenizer.map(|tokenizer| match tokenizer {
            wire::Tokenizer::Prefix => Tokenizer::Prefix,
            wire::Tokenizer::Whitespace => Tokenizer::Whitespace,
            wire::Tokenizer::Word => Tokenizer::Word,
            wire::Tokenizer::Multilingual => Tokenizer::Multilingual,
        }),
        min_token_len: p.min_token_len,
        max_token_len: p.max_token_len,
        lowercase: p.lowercase,
        ascii_folding: p.ascii_folding,
        phrase_matching: p.phrase_matching,
        stopwords: p.stopwords.as_ref().map(|words| match words {
            wire::Stopwords::Language(language) => Stopwords::Language(name(language)),
            wire::Stopwords::Set { languages, custom } => Stopwords::Set {
                languages: languages.as_ref().map(|all| all.iter().map(name).collect()),
                custom: custom.clone(),
            },
        }),
        stemmer: p.stemmer.as_ref().map(|stemmer| match stemmer {
            wire::Stemmer::Snowball { language } => Stemmer::Snowball(language.as_str().to_owned()),
            wire::Stemmer::None => Stemmer::None,
        }),
    }
}

/// Names of languages were checked when they came in.
fn wire_text_params(p: &TextParams) -> wire::TextParams {
    wire::TextParams {
        tokenizer: p.tokenizer.map(|tokenizer| match tokenizer {
            Tokenizer::Prefix => wire::Tokenizer::Prefix,
            Tokenizer::Whitespace => wire::Tokenizer::Whitespace,
            Tokenizer::Word => wire::Tokenizer::Word,
            Tokenizer::Multilingual => wire::Tokenizer::Multilingual,
        }),
        min_token_len: p.min_token_len,
        max_token_len: p.max_token_len,
        lowercase: p.lowercase,
        ascii_folding: p.ascii_folding,
        phrase_matching: p.phrase_matching,
        stopwords: p.stopwords.as_ref().and_then(|words| match words {
            Stopwords::Language(name) => wire::Language::new(name).map(wire::Stopwords::Language),
            Stopwords::Set { languages, custom } => Some(wire::Stopwords::Set {
                languages: languages
                    .as_ref()
                    .map(|all| all.iter().filter_map(|name| wire::Language::new(name)).collect()),
                custom: custom.clone(),
            }),
        }),
        stemmer: p.stemmer.as_ref().and_then(|stemmer| match stemmer {
            Stemmer::Snowball(name) => {
                wire::StemmedLanguage::new(name).map(|language| wire::Stemmer::Snowball { language })
            }
            Stemmer::None => Some(wire::Stemmer::None),
        }),
    }
}

/// A facet for the wire.
pub fn wire_facet((value, count): (FacetValue, u64)) -> FacetHit {
    let value = match value {
        FacetValue::Bool(b) => WireValue::Bool(b),
        FacetValue::Integer(n) => WireValue::Integer(n),
        FacetValue::Keyword(text) => WireValue::Keyword(text),
        FacetValue::Uuid(uuid) => WireValue::Keyword(uuid.hyphenated().to_string()),
    };
    FacetHit { value, count }
}
