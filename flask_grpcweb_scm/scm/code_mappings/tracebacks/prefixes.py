"""Prefixes that log drivers, loggers and people put before the lines of a stack trace; pure."""

from __future__ import annotations

import re

__all__ = ["PARTIAL", "cuts", "stream_name", "unknown_cuts", "without_numbers"]

_ZONE = r"(?: ?(?:Z|UTC|GMT|[A-Z]{3,4}|[+-]\d\d:?\d\d))?"
_CLOCK = rf"\d\d?:\d\d:\d\d(?:[.,:]\d{{1,9}})?(?: ?[AP]M)?{_ZONE}"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?"
_TIME = (
    rf"(?:(?:{_DAY} )?(?:\d{{4}}[-/.]\d\d[-/.]\d\d[T ,]{{1,2}}{_CLOCK}"  # 2025-01-02T03:04:05.678Z
    rf"|{_MONTH} [ \d]\d {_CLOCK}(?: \d{{4}})?"  # Thu Jan 02 03:04:05.678901 2025
    rf"|\d\d?[-/ ]{_MONTH}[-/ ]\d{{4}}[: ]{_CLOCK}"  # 02/Jan/2025:03:04:05 +0000
    rf"|\d\d[-/]\d\d {_CLOCK}"  # 01-02 03:04:05.678
    rf"|\d\d?[/.]\d\d?[/.]\d{{2,4}},? {_CLOCK}"  # 1/2/2025, 3:04:05 PM
    rf"|{_CLOCK})|\d{{10}}\.\d{{3,9}}|\d{{13}}\b)"
)
_LEVEL = (
    r"(?:TRACE|DEBUG|DEBG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRIT(?:ICAL)?|FATAL|SEVERE|LOG|ALERT|EMERG(?:ENCY)?|PANIC|OUT|"
    r"trace|debug|info|notice|warn(?:ing)?|error|critical|fatal)"
)
_NAME = r"[\w@][\w.@/+-]*"
_ID = r"(?:[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-f]{12,64})"

# One piece of a prefix, with at most one space after it: more are the indentation of the frame.
_PIECES = (
    # Times, in brackets or not, perhaps with more in the brackets: "[2025-01-02 03:04:05,678: ERROR/MainProcess]"
    rf"{_TIME}:?(?=[\s|,;\]]|$)",
    # After a time: "host program[12]:", "host program:"; a program alone
    rf"(?:{_NAME} )?{_NAME}\[[^\[\]]*\]:?(?=\s|$)",
    # RFC 5424: "host program 812 ID47 -"
    rf"{_NAME} {_NAME} (?:\d+|-) (?:[\w-]+) (?:-|\[[^\[\]]*\])(?=\s|$)",
    # stern: "web-5d8f6c7b9-x2x4z web"; Fly: "ams [info]"; AWS: "2025/01/02/[$LATEST]0123…"; GitHub: "job\tstep\t"
    r"[a-z0-9-]+-[a-z0-9]{4,10}-[a-z0-9]{5} [a-z][a-z0-9-]*(?=\s|$)|[a-z]{3} \[\w+\](?=\s|$)",
    rf"\d{{4}}/\d\d/\d\d/\[[^\[\]]*\][0-9a-f]{{32}}(?=\s|$)|[^\t]{{1,100}}\t[^\t]{{1,100}}\t(?={_TIME})",
    # "[pid 12:tid 34]", "[03:04:05]E:", "##[error]", "{container="web"}", "<34>1"
    r"##\[\w+\]|::\w+(?: [^:]*)?::|(?:##)?\[[^\[\]]*\](?:[:|]|[A-Za-z]:(?=\s|$)|(?=[\s\[<]|$))",
    r"\{[^{}\"']*(?:\"[^\"{}]*\"[^{}\"']*)*\}(?=\s)",
    r"<\d{1,3}>\d? ?",
    # "web-1  |", "web.1 |", "0|web  |", "web │"
    rf"(?:\d+\||\.{{1,2}}/)?{_NAME}(?::[\w-]+)? *(?:\||│)(?=\s|$)",
    # BuildKit: "#12 [web 3/5] 3.456"; mpirun: "<stderr>:"; journalctl -o verbose: "MESSAGE="
    r"#\d+ (?:\[[^\[\]]*\] )?\d+\.\d+(?=\s)|<std(?:out|err)>:?|MESSAGE=",
    # Fields of CSV or NLog: "web1,error,", "ERROR|Harbor.Pier|"; grep -n: "12:", "app.log:12:"
    rf"{_NAME}[,|](?=\S)|[,;|](?=\S)|(?:[\w./-]*\.(?:log|txt|out|err)[:-])?\d{{1,9}}[:-](?=\s)|\d{{1,9}}:(?=\S)",
    # grep in files: a number after a name may be that of a year
    rf"[\w./-]*\.(?:log|txt|out|err)(?:[:-](?={_TIME})|[:-]\d{{1,9}}[:-]|:)",
    # CRI: "stderr F"; GitLab: "00O", "01E+"
    r"(?:stdout|stderr) [FP](?=\s|$)|\d\d[OE]\+?(?=\s|$)",
    # Android: "1234  1234 E Tag:", "E/Tag( 1234):", "1234-1234 Tag  app  E"
    r"\d+[ -]+\d+ [VDIWEFA] [^\s:]+ *:(?=\s|$)",
    r"[VDIWEFA]/[^:()]{1,60}(?:\( *\d+\))?:(?=\s|$)",
    r"\d+-\d+(?:/\S+)? +(?:\S+ +\S+ +[VDIWEFA](?=\s)|[VDIWEFA]/[^\s:]+:(?=\s|$))",
    # klog: "E0102 03:04:05.678901       1 runtime.go:78]"
    r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.-]+:\d+\]",
    # Ruby: "E, [2025-01-02T03:04:05.678901 #12] ERROR -- : "
    r"[DIWEFA], \[[^\[\]]*\] +[A-Z]+ -- [^:]{0,60}:(?=\s|$)",
    # Levels: "ERROR", "ERROR:root:", "level=error"; after one, a logger: "pier.tasks"
    rf"{_LEVEL}(?::[\w.]+:|/[\w.-]+:?|[:|,]?(?=\s|$))|(?<=[A-Z] )[a-z_]\w*(?:\.\w+)+(?=\s)",
    r"(?:time|ts|level|lvl|severity|logger|caller|pid|tid|class|app)=(?:\"[^\"]*\"|\S+)(?=\s|$)",
    # Ids of requests and containers, numbers of processes and lines
    rf"{_ID}(?=\s|$)|\d{{1,9}}(?:\.\d{{1,9}}s?)?(?=[\s:])[:]?(?=\s|$)",
    # Separators, quotes of mails, items of lists, comments, diffs, margins of boxes
    r"(?:-{1,3}|--+>|->|=>|\u2013|\u2014|:|\||/|»|•|·|◦|\*|\d{1,4}[.)])(?=\s|$)",
    r"(?:>(?: ?>)*|#|//|--|;;|%|E {2}(?= ))(?=\s|$)",
    r"[+-]{1,2}(?=[^+-])(?!e:\d)|`{1,3}(?=.)|[|│┃║▏▌](?=.)|[|│┃║▏▌]$|[├└]─{0,3}(?=\s)",
    # Names of loggers: "pier.tasks - ", "o.h.Slip    : "; of syslog: "host program:"; not PHP's "Fatal error:"
    rf"{_NAME} +(?:-{{1,3}}|:|\|)(?=\s|$)|(?![A-Za-z]+ error:){_NAME} {_NAME}:(?=\s|$)",
    # "web:dev:", "default/web[app]:"; npm's debug: "pier:web"
    rf"{_NAME}(?:\[[^\[\]]*\])?(?::[\w-]+)?:(?=\s|$)|{_NAME}(?::[a-z][\w-]*)+(?=\s)",
)
_PIECE = re.compile(r"[ \t]*(?:" + "|".join(f"(?:{piece})" for piece in _PIECES) + r")[ ]?")
_MAX_PIECES = 16

# A line of CRI, which has "P" when the rest of the text is in the next line.
PARTIAL = re.compile(r"(?P<prefix>.{0,200}?\b(?:stdout|stderr)) (?P<kind>[FP])(?:$| )")
_TIMES = re.compile(_TIME)
_DIGITS = re.compile(r"\d+")

# A frame after a prefix that is none of these: it has its own indentation, or it cannot be told from something else.
_INDENTED = re.compile(r"(?:\t| {2})[ \t]*(?=\S)")
_UNMISTAKABLE = re.compile(
    r"(?<=\s)(?=at [\w.$/@<>-]+\([\w$-]+\.(?:java|kt|scala|groovy|clj):\d)|"
    r"(?<=\s)(?=File \"|#\d+ +\S|\u276f |[^\s@]*@[a-z-]+://|[^\s@:]*@/|[^\s:]+:\d+:in [`']|[^\s:]+\.py:\d+: in |"
    r"[/~][^\s:]*\.py:\d+ in |File [^\s:]+:\d+, in |\d+ (?:\[\w+\] )?0x[0-9a-f]+ \S|[^\s:]+\.(?:go|s):\d+ [+(]0x)"
)
_MAX_UNKNOWN = 8


def cuts(line: str) -> list[int]:
    """Return the places where a line may begin after known prefixes, from left to right; the first is 0."""
    places = [0]
    while len(places) <= _MAX_PIECES:
        match = _PIECE.match(line, places[-1])
        if match is None or match.end() == places[-1]:
            break
        places.append(match.end())
    return places


def unknown_cuts(line: str) -> list[int]:
    """Return the places where a frame may begin after a prefix that is not known."""
    places = []
    for pattern in (_INDENTED, _UNMISTAKABLE):
        for count, match in enumerate(pattern.finditer(line)):
            if count == _MAX_UNKNOWN:
                break
            places.append(match.end())
    return places


def stream_name(prefix: str) -> str:
    """Return what is the same in the prefixes of all lines of one program: a prefix without times."""
    return _TIMES.sub("", prefix) if prefix else ""


def without_numbers(text: str) -> str:
    """Return a text with zeros for its digits: what numbers of lines and seconds change in the prefix of a program."""
    return _DIGITS.sub("0", text)
