#pragma once
constexpr const char *version = "1.2";
