# How plugins are built, in qcore's own tree and in anyone else's:
#
#   qcore_add_plugin(NAME
#       SOURCES a.c b.c                 # compiled once
#       [VARIANT_SOURCES kernels.c      # compiled with -DQC_VARIANT=reference, and once more for each of
#        VARIANTS x86-v3 x86-v4]        # these CPU levels that the target machine's family has (qcore/variant.h)
#       [LIBRARIES PkgConfig::jansson]  # third-party libraries
#       [CONFORM])                      # registers `qcore plugins check` with ctest
#
# The result is a folder that qcore can be pointed at with --plugin-path:
#   <build>/lib/qcore/plugins/NAME/{plugin.ini, libqc_NAME.so}
# Where variants are compiled, SOURCES see QC_VARIANTS_X86=1. On 64-bit ARM reference is built for NEON already.

option(QCORE_WERROR "Warnings are errors" OFF)
option(QCORE_SANITIZE "Build with the address and undefined-behaviour sanitizers" OFF)
set(QCORE_CMAKE_DIR ${CMAKE_CURRENT_LIST_DIR})

# The flags on which exactness and the ABI rest, for every target of qcore: ISO C11 and no contraction of a*b+c, so that
# the same source gives the same bits on every CPU and compiler. Nobody reads errno or the exception flags of arithmetic:
# saying so changes no result, and lets GCC turn selects between quotients into vector instructions.
function(qcore_target_options target)
    set_target_properties(${target} PROPERTIES
        C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF
        C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
        POSITION_INDEPENDENT_CODE ON)
    target_compile_options(${target} PRIVATE
        -ffp-contract=off -fno-math-errno -fno-trapping-math -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Wundef
        $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
        $<$<BOOL:${QCORE_WERROR}>:-Werror>)
    if(QCORE_SANITIZE)
        set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
        target_compile_options(${target} PRIVATE ${sanitize})
        target_link_options(${target} PRIVATE ${sanitize})
    endif()
endfunction()

# CPU level as manifests and qc_variant name it -> compiler flags, empty where this machine's family lacks it.
function(qcore_level_flags level out)
    set(flags "")
    if(NOT level MATCHES "^(x86-v[234]|neon)$")
        message(FATAL_ERROR "qcore: no CPU level ${level} (x86-v2, x86-v3, x86-v4, neon)")
    elseif(level STREQUAL "neon" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
        set(flags -march=armv8-a)
    elseif(level MATCHES "^x86-" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
        string(REPLACE "x86-" "-march=x86-64-" flags ${level})
        if(level STREQUAL "x86-v4")
            list(APPEND flags -mprefer-vector-width=512) # QC_LANES float32 are one register
        endif()
    endif()
    set(${out} "${flags}" PARENT_SCOPE)
endfunction()

# Loops over the 16 rows of a tile must still be loops when GCC vectorizes: else it unrolls them before, and the searches
# take up to twice the time.
function(qcore_add_variant name variant sources flags)
    set(target qc_${name}_${variant})
    add_library(${target} OBJECT ${sources})
    qcore_target_options(${target})
    target_compile_definitions(${target} PRIVATE QC_VARIANT=${variant})
    target_compile_options(${target} PRIVATE
        ${flags} $<$<C_COMPILER_ID:GNU>:--param=max-completely-peel-times=15>)
    target_link_libraries(${target} PRIVATE Qcore::sdk)
    target_link_libraries(qc_${name} PRIVATE ${target})
endfunction()

function(qcore_add_plugin name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "CONFORM" "" "SOURCES;VARIANT_SOURCES;VARIANTS;LIBRARIES")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "qcore_add_plugin(${name}): unknown argument ${arg_UNPARSED_ARGUMENTS}")
    endif()
    set(target qc_${name})
    set(folder ${CMAKE_BINARY_DIR}/lib/qcore/plugins/${name})

    add_library(${target} MODULE ${arg_SOURCES})
    qcore_target_options(${target})
    target_link_libraries(${target} PRIVATE Qcore::sdk ${arg_LIBRARIES} m)
    set_target_properties(${target} PROPERTIES PREFIX lib SUFFIX .so LIBRARY_OUTPUT_DIRECTORY ${folder})
    if(APPLE)
        target_link_options(${target} PRIVATE -Wl,-exported_symbol,_qc_plugin_entry)
    else()
        set(map ${QCORE_CMAKE_DIR}/plugin.map)
        target_link_options(${target} PRIVATE -Wl,--version-script,${map})
        if(NOT QCORE_SANITIZE) # whose run-time library comes with the program
            target_link_options(${target} PRIVATE -Wl,--no-undefined)
        endif()
        set_target_properties(${target} PROPERTIES LINK_DEPENDS ${map})
    endif()

    if(arg_VARIANT_SOURCES)
        qcore_add_variant(${name} reference "${arg_VARIANT_SOURCES}" "")
        foreach(level IN LISTS arg_VARIANTS)
            qcore_level_flags(${level} flags)
            if(flags AND level MATCHES "^x86-")
                string(REPLACE "-" "_" variant ${level})
                qcore_add_variant(${name} ${variant} "${arg_VARIANT_SOURCES}" "${flags}")
                set(has_variants ON)
            endif()
        endforeach()
        if(has_variants)
            target_compile_definitions(${target} PRIVATE QC_VARIANTS_X86=1)
        endif()
    endif()

    configure_file(plugin.ini ${folder}/plugin.ini COPYONLY)
    install(TARGETS ${target} LIBRARY DESTINATION lib/qcore/plugins/${name})
    install(FILES plugin.ini DESTINATION lib/qcore/plugins/${name})

    if(arg_CONFORM AND BUILD_TESTING AND TARGET Qcore::qcore)
        add_test(NAME conform.${name}
            COMMAND Qcore::qcore plugins check --plugin-path ${CMAKE_BINARY_DIR}/lib/qcore/plugins ${name})
        set_tests_properties(conform.${name} PROPERTIES LABELS "unit;conform")
    endif()
endfunction()
