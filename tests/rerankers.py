"""Tiny random rerankers of every kind, made in memory."""

from __future__ import annotations

from pathlib import Path

from tests.models import make_config

ROLES = (
    "{% for m in messages %}{% if m['role'] == 'system' %}task: {{ m['content'] }}\n{% endif %}{% endfor %}"
    "<s>query: {{ (messages | selectattr('role', 'eq', 'query') | first).content }}\n"
    "document: {{ (messages | selectattr('role', 'eq', 'document') | first).content }}\nanswer:"
)
CHAT = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</{{ m['role'] }}>\n{% endfor %}<assistant>"


def randomise(model, seed: int = 0) -> None:
    """Weights large enough that attention, positions and padding matter."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower() and parameter.dim() > 1:
                parameter.normal_(0, 0.15)


def save(model, tokenizer, directory: Path, seed: int = 0) -> Path:
    randomise(model, seed)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def make_bert_tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertTokenizerFast

    from tests.models import LINES

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(
        LINES, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return BertTokenizerFast(tokenizer_object=backend, model_max_length=64)


def make_bert(directory: Path, labels: int = 1) -> Path:
    """A BERT cross-encoder."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, num_labels=labels,
    )  # fmt: skip
    return save(BertForSequenceClassification(config), make_bert_tokenizer(), directory)


def make_head(directory: Path, tokenizer, family: str = "llama", labels: int = 1, **changes) -> Path:
    """A decoder with a linear head on its last token."""
    from transformers import AutoModelForSequenceClassification

    config = make_config(family, num_labels=labels, **changes)
    return save(AutoModelForSequenceClassification.from_config(config), tokenizer, directory)


def make_causal(directory: Path, tokenizer, family: str = "llama", template: str | None = None, **changes) -> Path:
    """A causal language model, with a chat template if one is given."""
    import copy

    from transformers import AutoModelForCausalLM

    own = copy.deepcopy(tokenizer)
    own.chat_template = template
    return save(AutoModelForCausalLM.from_config(make_config(family, **changes)), own, directory)


def add_words(tokenizer):
    """The tokenizer with the words yes and no as tokens of their own."""
    import copy

    own = copy.deepcopy(tokenizer)
    own.add_tokens(["yes", "no"])
    return own
