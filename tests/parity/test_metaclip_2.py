"""MetaCLIP 2, where it is not CLIP: XLM-RoBERTa's ids, and texts that are read at id 2. Against `transformers`."""

from pathlib import Path

import torch

from clipcli.checkpoints.config import read_config
from clipcli.checkpoints.towers import ClipTextConfig, MetaClip2TextConfig
from clipcli.compute.torch_backend.text_encoder import TorchTextEncoder
from clipcli.hub import weight_files
from clipcli.networks.loading import load_network


def test_a_text_is_read_at_the_first_id_2_and_not_at_the_highest(metaclip_2_checkpoint: Path) -> None:
    from transformers import AutoModel

    config = read_config(metaclip_2_checkpoint)
    assert isinstance(config.text, MetaClip2TextConfig) and config.text.eos_token_id == 2
    highest = config.text.vocab_size - 1
    sequences = [[0, highest, 9, 2], [0, 9, 2, highest, 2], [0, 2]]
    reference = AutoModel.from_pretrained(metaclip_2_checkpoint).eval()
    network = load_network(config, weight_files(metaclip_2_checkpoint))
    with torch.inference_mode():
        expected = torch.cat([reference.get_text_features(torch.tensor([ids])).pooler_output for ids in sequences])
        expected = torch.nn.functional.normalize(expected, dim=-1)
    many = [*sequences, *([0, token, 2] for token in range(4, 60))]  # enough for the tower that is made for speed
    ours = torch.from_numpy(TorchTextEncoder(network, pad_token_id=1).encode(many))[:3]
    assert (ours - expected).abs().max() < 1e-5


def test_only_clip_reads_2_as_an_id_that_was_never_recorded() -> None:
    assert ClipTextConfig(eos_token_id=2).end_token_id is None
    assert ClipTextConfig(eos_token_id=49407).end_token_id == 49407
    assert MetaClip2TextConfig(eos_token_id=2).end_token_id == 2
