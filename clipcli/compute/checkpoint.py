"""A checkpoint's files as one object: configuration, image processor, tokenizer, and where the weights lie."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from clipcli import hub
from clipcli.checkpoints.config import ModelConfig, read_config
from clipcli.checkpoints.image_processor import read_image_processor
from clipcli.checkpoints.towers import ImageTowerConfig, TextConfig
from clipcli.checkpoints.weights import check_beginning
from clipcli.errors import UnsupportedModelError, reading_checkpoint
from clipcli.images.preprocess import Preprocessing
from clipcli.text.tokenizer import TextTokenizer, load_tokenizer, tokenizer_digest

_BOTH_TOWERS = "use a checkpoint with both towers"


class Checkpoint:
    """What the files of one checkpoint say. The configuration is read at once, the rest when it is first asked for.

    Args:
        files: Where they lie.
        text_cleaning: How texts are cleaned, one of `text.cleaning.TEXT_CLEANINGS`.

    Raises:
        ModelError: The configuration is damaged or not of a supported family.
    """

    def __init__(self, files: hub.ModelFiles, text_cleaning: str = "auto") -> None:
        self.files, self._text_cleaning = files, text_cleaning
        with reading_checkpoint(files.folder):
            self.config: ModelConfig = read_config(files.folder)

    @property
    def id(self) -> str:
        """What messages call it: a hub id, a folder, or a file."""
        return self.files.id

    @cached_property
    def weights(self) -> Sequence[Path]:
        """The files that hold the weights.

        Raises:
            DamagedModelError: There are none, one is missing, or one begins as no such file does.
        """
        files = hub.weight_files(self.files.folder)
        for path in files:
            check_beginning(path)
        return files

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes of a checkpoint with a classification head of its own, else None."""
        return self.config.id2label

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What its image processor does.

        Raises:
            ModelError: Its settings are damaged or not supported, or it has no image tower.
        """
        tower = self.image_tower
        with reading_checkpoint(self.files.folder):
            settings, path = read_image_processor(self.files.folder)
            preprocessing = Preprocessing.from_config(settings, str(path))
            preprocessing.check_fits(tower, str(path), str(self.files.folder / "config.json"))
            return preprocessing

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer.

        Raises:
            ModelError: It is damaged or not supported, or it has no text tower.
        """
        text = self.text_tower
        with reading_checkpoint(self.files.folder):
            tokenizer = load_tokenizer(
                self.files.folder,
                self.config.family,
                context_length=text.context_length,
                cleaning=self._text_cleaning,
            )
            tokenizer.check_vocab_size(text.vocab_size)
            return tokenizer

    @cached_property
    def tokenizer_digest(self) -> str:
        """Digest of all that decides its token ids; reads the tokenizer's files, and does not build it."""
        length = self.text_tower.context_length
        with reading_checkpoint(self.files.folder):
            return tokenizer_digest(
                self.files.folder, self.config.family, context_length=length, cleaning=self._text_cleaning
            )

    @property
    def text_tower(self) -> TextConfig:
        """Configuration of the text tower.

        Raises:
            UnsupportedModelError: There is none.
        """
        if self.config.text is None or self.class_names is not None:
            raise UnsupportedModelError(f"{self.id} has no text tower, so it cannot read texts", hint=_BOTH_TOWERS)
        return self.config.text

    @property
    def image_tower(self) -> ImageTowerConfig:
        """Configuration of the image tower.

        Raises:
            UnsupportedModelError: There is none.
        """
        if self.config.vision is None:
            raise UnsupportedModelError(f"{self.id} has no image tower, so it cannot read images", hint=_BOTH_TOWERS)
        return self.config.vision
