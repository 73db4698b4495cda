"""Chats that were exported: Slack (a .zip file), Discord (the JSON of DiscordChatExporter).

A thread is a passage of its own, whatever days its answers are from; what is in no thread is parted where nobody wrote
for an hour. Passages carry ``from`` (who began), ``date``, ``thread`` and ``channel``.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.json_text import load, objects, text_of
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable, Value
from searchapp.corpus.formats.zipped import Zipped

PAUSE = 3600.0  # seconds without a message that end a conversation
LONG = 30  # messages after which one ends in any case
_MENTION = re.compile(
    r"<(?:@(?P<user>[A-Z0-9]+)(?:\|[^>]*)?|#[A-Z0-9]+\|(?P<channel>[^>]*)|![^>|]*\|?(?P<group>[^>]*)"
    r"|(?P<url>[^>|]+)(?:\|(?P<label>[^>]*))?)>"
)


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message: when it was written, in seconds since 1970, by whom, the key of its thread, "" where it has none."""

    time: float
    author: str
    text: str
    thread: str = ""


def read_slack(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a Slack export, then its channels' conversations. Raises Unreadable where it is none."""
    with Zipped(path, limits) as package:
        people = {
            text_of(user.get("id")): _name(user) for user in objects(_json(package, "users.json")) if user.get("id")
        }
        channels: dict[str, list[str]] = {}
        for name in sorted(package.names):
            folder, _, file = name.rpartition("/")
            if folder and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\.json", file):
                channels.setdefault(folder, []).append(name)
        if not channels:
            raise Unreadable("no Slack export (no file such as general/2024-05-06.json)")
        yield Facts(mime="application/zip")
        composer = Composer(limits)
        for channel, files in channels.items():
            items = [item for name in files for item in objects(_json(package, name))]
            messages = [_slack_message(item, people) for item in items if item.get("type") == "message"]
            yield from conversation_blocks(messages, channel.rpartition("/")[2], composer)


def _json(package: Zipped, name: str) -> Any:
    if name not in package:
        return []
    try:
        return json.loads(package.read(name))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"damaged: {name[:100]} is no JSON ({str(error).splitlines()[0]})") from None


def _slack_message(item: Mapping[str, Any], people: Mapping[str, str]) -> ChatMessage:
    user = text_of(item.get("user"))
    author = people.get(user) or text_of(item.get("username")) or user
    text = html.unescape(_MENTION.sub(lambda found: _mentioned(found, people), text_of(item.get("text"))))
    files = [text_of(file.get("name") or file.get("title")) for file in objects(item.get("files"))]
    text = "\n".join([text, *(f"[{name}]" for name in files if name)]).strip()
    return ChatMessage(_seconds(item.get("ts")), author, text, text_of(item.get("thread_ts")))


def _mentioned(found: re.Match[str], people: Mapping[str, str]) -> str:
    if found["user"]:
        return f"@{people.get(found['user'], found['user'])}"
    if found["channel"] is not None:
        return f"#{found['channel']}"
    return found["label"] or found["url"] or found["group"] or ""


def read_discord(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a Discord channel, then its conversations; an answer belongs to what it answers."""
    export = load(path)
    messages = objects(export.get("messages")) if isinstance(export, dict) else []
    channel = export.get("channel") if isinstance(export, dict) else None
    if not isinstance(channel, dict) or not isinstance(export.get("messages"), list):
        raise Unreadable("no Discord export (has no “channel” and “messages”)")
    name = text_of(channel.get("name")) or "channel"
    threads: dict[str, str] = {}
    found = []
    for item in messages:
        id = text_of(item.get("id"))
        reference = item.get("reference")
        answered = text_of(reference.get("messageId")) if isinstance(reference, dict) else ""
        thread = threads[id] = (threads.get(answered) or answered) if answered else ""
        author = item.get("author")
        author = text_of(author.get("nickname")) or text_of(author.get("name")) if isinstance(author, dict) else ""
        found.append((id, ChatMessage(_moment(item.get("timestamp")), author, text_of(item.get("content")), thread)))
    answered_ids = {message.thread for _, message in found if message.thread}
    guild = export.get("guild")
    yield Facts(title=text_of(guild.get("name")) if isinstance(guild, dict) else "", mime="application/json")
    # What was answered is the first of its thread.
    own = (ChatMessage(m.time, m.author, m.text, m.thread or (id if id in answered_ids else "")) for id, m in found)
    yield from conversation_blocks(own, name, Composer(limits))


def conversation_blocks(messages: Iterable[ChatMessage], channel: str, composer: Composer) -> Iterator[Block]:
    """Yield the conversations of a channel, each below a heading that is whole, in the order in which they began."""
    said = sorted((message for message in messages if message.text), key=lambda message: message.time)
    conversations: list[list[ChatMessage]] = []
    threads: dict[str, list[ChatMessage]] = {}
    loose: list[ChatMessage] = []
    for message in said:
        if message.thread:
            if message.thread not in threads:
                threads[message.thread] = []
                conversations.append(threads[message.thread])
            threads[message.thread].append(message)
            continue
        if not loose or message.time - loose[-1].time > PAUSE or len(loose) >= LONG:
            loose = []
            conversations.append(loose)
        loose.append(message)
    for conversation in conversations:
        first = conversation[0]
        date = datetime.fromtimestamp(first.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        place: dict[str, Value] = {"from": first.author, "date": date, "thread": first.thread, "channel": channel}
        where = {name: value for name, value in place.items() if value}
        heading = f"#{channel}, {date[:10]}"
        yield composer.block(BlockKind.HEADING, heading, level=1, label=heading, whole=True, where=where)
        for message in conversation:
            text = f"{message.author}: {message.text}" if message.author else message.text
            yield composer.block(BlockKind.TEXT, text.strip(), where=where)


def _name(user: Mapping[str, Any]) -> str:
    profile = user.get("profile")
    shown = text_of(profile.get("display_name")) if isinstance(profile, dict) else ""
    return shown or text_of(user.get("real_name")) or text_of(user.get("name"))


def _seconds(value: object) -> float:
    """Seconds since 1970 of a time as Slack writes it; 0 where it is none, or beyond the year 9999."""
    try:
        seconds = float(value) if isinstance(value, str | int | float) else 0.0
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds < 253_402_300_800 else 0.0


def _moment(value: object) -> float:
    try:
        found = datetime.fromisoformat(text_of(value))
    except ValueError:
        return 0.0
    return _seconds((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
