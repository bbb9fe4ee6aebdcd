"""Spellings of one name."""

EVIL = [
    "evil",
    "Evil",
    " evil ",
    "evil\u00a0",
    "e\u200bvil",
    "evil\ufeff",
    "\u202eevil",
    "ｅｖｉｌ",
    "𝐞𝐯𝐢𝐥",
    "evi\u00adl",
    "evil\ufe0f",
    "ev\u2063il",
    "evil\u3164",
    "evil\U000e0041",
    "evil\n",
]
ONE_MODEL = [
    "gpt-4o",
    "GPT-4o",
    " gpt-4o ",
    "ｇｐｔ-4o",
    "openai/gpt-4o",
    "openai:gpt-4o",
    "azure/gpt-4o",
    "azure/gpt-4o-2024-08-06",
    "gpt-4o-2024-08-06",
    "gpt-4o-2024-05-13",
    "gpt-4o-20240806",
    "openrouter/openai/gpt-4o",
    "gpt-4o:extended",
]
