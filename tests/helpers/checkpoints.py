"""Checkpoints of transformers with random weights, made on the spot, without a network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before `transformers` is imported

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    logging,
)

logging.disable_progress_bar()
logging.set_verbosity_error()

V, CONTEXT = 60, 24


def gpt2(folder, dtype=torch.float32, tokens=V):
    """Two layers of width 16; a tokenizer of numbers that opens no text."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=CONTEXT)
    model = GPT2LMHeadModel(config).to(dtype)
    return _saved(model, folder, tokens)


def llama(folder, dtype=torch.float32, tokens=V):
    """Two layers of width 16, gated, with an untied head."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=V,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
    )
    return _saved(LlamaForCausalLM(config).to(dtype), folder, tokens)


def _saved(model, folder, tokens):
    with torch.no_grad():  # standard deviations of training, so that predictions differ
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10)
    model.save_pretrained(folder)
    if tokens:
        ids = {"-" if i == 0 else str(i): i for i in range(tokens)}
        words = Tokenizer(models.WordLevel(ids, unk_token="-"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        PreTrainedTokenizerFast(tokenizer_object=words, unk_token="-").save_pretrained(folder)
    return model.eval()
