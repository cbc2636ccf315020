"""The field's checkpoints in, portable programs out. `IMPORTERS` names the families, `FORMS` the programs."""

from caselli.interop.export import FORMS, Exported, export_tokenizer
from caselli.interop.importing import IMPORTERS, Imported, import_tokenizer

__all__ = ["FORMS", "IMPORTERS", "Exported", "Imported", "export_tokenizer", "import_tokenizer"]
