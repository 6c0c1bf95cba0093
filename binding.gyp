# One action that runs CMake: CMakeLists.txt stays the only build description. Used by `npm run prebuild` alone.
{
  'targets': [
    {
      'target_name': 'brasa',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake',
          'inputs': ['CMakeLists.txt'],
          'outputs': ['<(PRODUCT_DIR)/brasa.node'],
          'action': ['node', 'tools/cmake.mjs', 'build/cmake', 'brasa', '-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=<(PRODUCT_DIR)'],
        },
      ],
    },
  ],
}
