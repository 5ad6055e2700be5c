"""The product's own two themes. Widgets draw with theme variables, so Textual's themes work too."""

from __future__ import annotations

from textual.theme import Theme

DARK = "mobvibe"
LIGHT = "mobvibe-light"


def own_themes() -> tuple[Theme, Theme]:
    """The dark theme (the default) and the light one."""
    dark = Theme(
        name=DARK,
        primary="#7C8CFF",
        secondary="#5CC8E0",
        accent="#FF8A5C",
        success="#5BD68D",
        warning="#F2C14E",
        error="#FF6B6B",
        foreground="#D9DCE8",
        background="#0E1016",
        surface="#0E1016",
        panel="#171A24",
    )
    light = Theme(
        name=LIGHT,
        primary="#4453C9",
        secondary="#0B7285",
        accent="#C2410C",
        success="#1B7F45",
        warning="#8A5A00",
        error="#C62828",
        foreground="#1C2030",
        background="#F7F8FC",
        surface="#F7F8FC",
        panel="#E9ECF6",
        dark=False,
    )
    dark.variables.update(_variables(dark, cursor="#262B45"))
    light.variables.update(_variables(light, cursor="#D5DAF5"))
    return dark, light


def _variables(theme: Theme, *, cursor: str) -> dict[str, str]:
    """Variables that Textual would derive differently; they take literal colours only."""
    accent, ink, paper = theme.accent or "", theme.foreground or "", theme.background or ""
    return {
        "text-primary": theme.primary,
        "text-secondary": theme.secondary or "",
        "text-accent": accent,
        "text-success": theme.success or "",
        "text-warning": theme.warning or "",
        "text-error": theme.error or "",
        "footer-key-foreground": accent,
        "footer-background": paper,
        "footer-item-background": paper,
        "footer-key-background": paper,
        "footer-description-background": paper,
        "block-cursor-background": cursor,
        "block-cursor-blurred-background": cursor,
        "block-cursor-foreground": ink,
        "block-cursor-blurred-foreground": ink,
        "block-cursor-text-style": "none",
        "scrollbar": f"{ink} 20%",
        "scrollbar-hover": f"{ink} 35%",
        "scrollbar-active": accent,
        "scrollbar-background": paper,
        "scrollbar-background-hover": paper,
        "scrollbar-background-active": paper,
        "scrollbar-corner-color": paper,
    }
