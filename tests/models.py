"""Tiny random models and their tokenizer, made in memory."""

from __future__ import annotations

from pathlib import Path

LINES = [
    "the quick brown fox jumps over the lazy dog",
    "bees fly and make honey in their hives",
    "how do you measure the quality of a search engine",
    "Given a web search query, retrieve relevant passages that answer the query:",
    "0 1 2 3 4 5 6 7 8 9 10 11 2020 2024",
] * 4


def make_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        LINES,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )  # fmt: skip
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


# family -> what its configuration needs beside the common sizes
SIZES = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, dict] = {
    "llama": {},
    "mistral": {"sliding_window": 4},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 4},
    "gemma3_text": {"head_dim": 8, "sliding_window": 4},
    "phi3": {"sliding_window": 4},
    "gpt_neox": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "olmo2": {},
    "smollm3": {},
    "falcon": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "stablelm": {},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]]},
}


def make_config(family: str, **changes):
    from transformers import AutoConfig

    options = {**SIZES, **FAMILIES.get(family, {}), **changes}
    if family in ("gpt2", "gpt_neo", "falcon"):
        options.pop("intermediate_size", None)
    if family == "gpt_neo":
        options = {
            k: v
            for k, v in options.items()
            if k not in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads")
        }
    return AutoConfig.for_model(family, **options)


def make_checkpoint(
    directory: Path, tokenizer, family: str = "llama", *, head: bool = True, seed: int = 0, **changes
) -> Path:
    """Save a random model with its tokenizer; ``head`` saves it as a causal language model."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM

    torch.manual_seed(seed)
    config = make_config(family, **changes)
    model = (AutoModelForCausalLM if head else AutoModel).from_config(config)
    with torch.no_grad():  # larger than the usual initialisation, so that attention matters
        for name, parameter in model.named_parameters():
            if "norm" not in name and parameter.dim() > 1:
                parameter.normal_(0, 0.15)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def make_adapter(base: Path, directory: Path, *, head: bool = False, seed: int = 0, rank: int = 4) -> Path:
    """A LoRA adapter with random weights on every linear layer of a checkpoint; ``head``: wrapped round the LM."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel, AutoModelForCausalLM

    torch.manual_seed(seed)
    model = (AutoModelForCausalLM if head else AutoModel).from_pretrained(base)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    wrapped = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.1)
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(directory)
    return directory
